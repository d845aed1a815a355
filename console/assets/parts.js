// The pieces that pages are made of.
import { h, fill, setText, keyed } from './dom.js';
import { icon } from './icons.js';
import { ago, moment } from './format.js';

export function toast(text, kind = 'good') {
  const node = h('div', { class: `toast ${kind}` }, icon(kind === 'bad' ? 'warn' : 'check'), h('span', {}, text));
  document.getElementById('toasts').append(node);
  setTimeout(() => node.remove(), kind === 'bad' ? 8000 : 3500);
}

export const badge = (text, kind = '') => h('span', { class: `badge ${kind}` }, text);

export function button(label, onclick, { kind = '', iconName, small, title, disabled } = {}) {
  return h('button', { type: 'button', class: `btn ${kind} ${small ? 'small' : ''}`, onclick, title, disabled },
    iconName && icon(iconName), label && h('span', {}, label));
}

export const iconButton = (name, label, onclick) =>
  h('button', { type: 'button', class: 'btn bare', 'aria-label': label, title: label, onclick }, icon(name));

// busy runs an action of a button, which cannot be pressed again meanwhile, and
// shows what went wrong.
export async function busy(node, work) {
  node.disabled = true;
  try {
    return await work();
  } catch (error) {
    toast(error.message, 'bad');
    return undefined;
  } finally {
    node.disabled = false;
  }
}

export async function copy(text, node) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS browsers offer no clipboard: copy the old way.
    const area = h('textarea', { value: text, class: 'offscreen' });
    (node.closest('dialog') ?? document.body).append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
    node.focus();
  }
  fill(node, icon('check'), node.dataset.label && h('span', {}, 'Copied'));
  node.classList.add('copied');
  setTimeout(() => {
    fill(node, icon('copy'), node.dataset.label && h('span', {}, node.dataset.label));
    node.classList.remove('copied');
  }, 1500);
}

export function copyButton(text, label, what = 'text') {
  const node = h('button', {
    type: 'button', class: `btn ${label ? 'small' : 'bare'} copy`, 'aria-label': `Copy ${what}`, title: `Copy ${what}`,
    data: label ? { label } : {},
    onclick: () => copy(typeof text === 'function' ? text() : text, node),
  }, icon('copy'), label && h('span', {}, label));
  return node;
}

export const secretLine = (text, what) =>
  h('span', { class: 'secret' }, h('code', { class: 'mono' }, text), copyButton(text, '', what));

export function empty(title, hint, ...actions) {
  return h('div', { class: 'empty' }, h('p', { class: 'empty-title' }, title), h('p', { class: 'hint' }, hint),
    actions.length > 0 && h('div', { class: 'row center' }, actions));
}

// card is a titled part of a page.
export function card(title, { hint, actions, id, danger } = {}, ...body) {
  return h('section', { class: `card ${danger ? 'danger' : ''}`, id },
    h('header', { class: 'card-head' },
      h('div', {}, h('h2', {}, title), hint && h('p', { class: 'hint' }, hint)),
      actions && h('div', { class: 'row' }, actions)),
    h('div', { class: 'card-body' }, body));
}

export function heading(title, { crumbs = [], hint, actions } = {}) {
  return h('header', { class: 'page-head' },
    crumbs.length > 0 && h('nav', { class: 'crumbs', 'aria-label': 'Breadcrumb' },
      crumbs.map(([text, href]) => [h('a', { href }, text), h('span', { 'aria-hidden': 'true' }, '/')])),
    h('div', { class: 'page-title' },
      h('div', {}, h('h1', {}, title), hint && h('p', { class: 'hint' }, hint)),
      actions && h('div', { class: 'row' }, actions)));
}

export function tabs(label, links, current) {
  const node = h('nav', { class: 'tabs', 'aria-label': label },
    links.map(([text, href]) => h('a', { href, 'aria-current': href === current ? 'page' : null }, text)));
  // On a phone they do not fit: the one that is open is brought into sight.
  new ResizeObserver(() => {
    const here = node.querySelector('[aria-current]');
    if (here) node.scrollLeft = here.offsetLeft - node.offsetLeft - (node.clientWidth - here.clientWidth) / 2;
  }).observe(node);
  return node;
}

let fields = 0;

// field is a labelled input with a hint and a place for what is wrong with it.
export function field(label, input, { hint } = {}) {
  const id = `field-${++fields}`;
  const problem = h('p', { class: 'problem', id: id + '-problem', role: 'alert' });
  input.id = id;
  input.setAttribute('aria-describedby', id + '-problem');
  const node = h('div', { class: 'field' }, h('label', { for: id }, label), hint && h('p', { class: 'hint' }, hint), input, problem);
  return {
    node, input,
    say(text) {
      setText(problem, text ?? '');
      input.toggleAttribute('aria-invalid', Boolean(text));
    },
  };
}

// choice is a group of radio buttons; value() is the chosen one.
export function choice(name, options, chosen, onchange) {
  const node = h('div', { class: 'choices', role: 'radiogroup', 'aria-label': name }, options.map(([value, title, hint]) =>
    h('label', { class: 'choice' },
      h('input', { type: 'radio', name: `${name}-${fields}`, value, checked: value === chosen, onchange: () => onchange?.(value) }),
      h('span', {}, h('strong', {}, title), hint && h('span', { class: 'hint' }, hint)))));
  fields++;
  return { node, value: () => node.querySelector('input:checked').value };
}

export const select = (options, chosen, props = {}) =>
  h('select', props, options.map(([value, text]) => h('option', { value, selected: String(value) === String(chosen) }, text)));

// table makes a table that is updated in place. A column has a label, a text for
// each row and, where a text is not enough, a node that is made anew when that
// text changes. On a phone each row becomes a block of labelled lines.
export function table(columns, { key, none, href }) {
  const body = h('tbody', { role: 'rowgroup' });
  const head = h('thead', {}, h('tr', {}, columns.map((c) => h('th', { class: c.class?.includes('number') ? 'number' : '', scope: 'col' }, c.label))));
  const grid = h('table', { class: href ? 'linked' : '' }, head, body);
  const node = h('div', { class: 'table-box', role: 'region', 'aria-label': columns[0].label, tabIndex: 0 }, grid, none);
  const update = keyed(body, key, (item) => {
    const cells = columns.map((c) => h('td', { class: c.class, 'data-label': c.label }));
    const row = h('tr', {}, cells);
    const shown = [];
    return {
      node: row,
      update(item) {
        columns.forEach((c, i) => {
          const text = String(c.text(item));
          if (shown[i] === text) return;
          shown[i] = text;
          if (c.node) fill(cells[i], c.node(item));
          else if (c.link) fill(cells[i], h('a', { href: c.link(item) }, text));
          else cells[i].textContent = text;
          if (c.title) cells[i].title = c.title(item);
        });
      },
    };
  });
  const show = (items) => {
    update(items);
    grid.hidden = items.length === 0;
    if (none) none.hidden = items.length > 0;
  };
  grid.hidden = true;
  if (none) none.hidden = true;
  return { node, show };
}

// kindBadge shows what kind of credential something is or was done with.
export const kindBadge = (kind) => kind ? badge(kind, kind === 'server' ? 'accent' : '') : null;

export const when = (at, now) => h('time', { dateTime: new Date(at).toISOString(), title: moment(at) }, ago(at, now));

const typedIn = (input) => (input.type === 'checkbox' || input.type === 'radio' ? input.checked : input.value);

// dialog shows a modal window and returns what its buttons or its form settle it
// with, undefined when it is dismissed. Esc does not dismiss what somebody has typed,
// and with keep only a button settles it.
export function dialog(title, build, { wide, keep } = {}) {
  return new Promise((resolve) => {
    let answer;
    let settled = !keep;
    const settle = (value) => { answer = value; settled = true; node.close(); };
    const heading = h('h2', { id: `dialog-${++fields}` }, title);
    const node = h('dialog', { class: wide ? 'wide' : '', 'aria-labelledby': heading.id },
      h('div', { class: 'dialog-head' }, heading, !keep && iconButton('close', 'Close', () => node.close())));
    node.append(build(settle));
    const inputs = () => [...node.querySelectorAll('input, textarea, select')];
    const before = new Map(inputs().map((input) => [input, typedIn(input)]));
    const typed = () => inputs().some((input) => typedIn(input) !== (before.get(input) ?? ''));
    const kept = h('p', { class: 'hint', role: 'status' });
    node.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !keep && !typed()) return;
      event.preventDefault();
      setText(kept, keep ? 'Esc does not close this: what it shows is not shown again.' : 'Esc does not close this: what you typed would be lost. Cancel does.');
      node.append(kept);
    });
    node.addEventListener('cancel', (event) => { if (keep || typed()) event.preventDefault(); });
    const hold = (event) => event.preventDefault();
    if (keep) addEventListener('beforeunload', hold);
    node.addEventListener('close', () => {
      if (!settled) { // a browser may insist on the second Esc
        node.showModal();
        return;
      }
      removeEventListener('beforeunload', hold);
      node.remove();
      resolve(answer);
    });
    document.body.append(node);
    node.showModal();
    (node.querySelector('[data-first]') ?? node.querySelector('input, select, textarea'))?.focus();
  });
}

// form lays out fields with the buttons below. work runs when it is sent; the
// dialog stays open, and says why, when work throws.
export function form(body, { submit, kind = 'primary', cancel, work }) {
  const problem = h('p', { class: 'problem', role: 'alert' });
  const send = h('button', { class: `btn ${kind}` }, submit);
  return h('form', {
    class: 'stack', noValidate: true,
    onsubmit: async (event) => {
      event.preventDefault();
      send.disabled = true;
      setText(problem, '');
      try {
        await work();
      } catch (error) {
        setText(problem, error.message);
      }
      send.disabled = false;
    },
  }, body, problem, h('div', { class: 'row end' }, cancel && button('Cancel', cancel), send));
}

// confirm asks before something that cannot be undone; with typed, the operator
// has to type that text.
export function confirm(title, { text, action, typed, work }) {
  return dialog(title, (settle) => {
    const check = typed && field(`Type ${typed} to confirm`, h('input', { autocomplete: 'off', spellcheck: false, data: { first: '' } }));
    return form([h('p', {}, text), check?.node], {
      submit: action, kind: 'danger', cancel: () => settle(undefined),
      async work() {
        if (check && check.input.value !== typed) throw new Error('That is not the same text.');
        await work();
        settle(true);
      },
    });
  });
}

// reveal shows secrets at the only moment that they are known.
export function reveal(title, text, secrets) {
  return dialog(title, (settle) => h('div', { class: 'stack' },
    h('p', { class: 'notice warn' }, icon('warn'), h('span', {}, text)),
    secrets.map(([label, secret]) => h('div', { class: 'field' },
      h('span', { class: 'label' }, label),
      h('span', { class: 'secret boxed' }, h('code', { class: 'mono' }, secret), copyButton(secret, 'Copy', label)))),
    h('div', { class: 'row end' }, h('button', { class: 'btn primary', type: 'button', onclick: () => settle(true) }, 'I have stored it'))),
  { wide: true, keep: true });
}

// pager walks through a list by its cursors.
export function pager(onmove) {
  const before = [];
  let cursor = '';
  let next = '';
  const back = button('Previous', () => { cursor = before.pop(); onmove(); }, { small: true });
  const forth = button('Next', () => { before.push(cursor); cursor = next; onmove(); }, { small: true });
  const label = h('span', { class: 'hint' });
  const turns = h('div', { class: 'row' }, back, forth);
  const node = h('div', { class: 'pager' }, label, turns);
  return {
    node,
    cursor: () => cursor,
    reset() { before.length = 0; cursor = ''; },
    show(following, text) {
      next = following;
      back.disabled = before.length === 0;
      forth.disabled = !next;
      turns.hidden = back.disabled && forth.disabled;
      setText(label, text);
    },
  };
}
