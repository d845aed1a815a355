// Tokens of clients: make one as a backend would, and see what a token or key is good for.
import { h, fill, setText } from '../dom.js';
import { path, post } from '../api.js';
import { moment, span } from '../format.js';
import { icon } from '../icons.js';
import { poll } from '../live.js';
import { badge, busy, button, card, copyButton, empty, field, iconButton, kindBadge, select } from '../parts.js';
import { may } from '../session.js';
import { projectHead } from './project.js';
import { projectLink, projectOf } from './projects.js';

const actions = ['subscribe', 'publish', 'history', 'presence', 'members'];
const lifetimes = [['5m', '5 minutes'], ['15m', '15 minutes'], ['1h', '1 hour'], ['24h', '24 hours']];
const text = (props) => h('input', { autocomplete: 'off', spellcheck: false, class: 'mono', ...props });

// scopeEditor is one pattern with the actions that are allowed there.
function scopeEditor(pattern, chosen, onremove) {
  const name = text({ value: pattern, placeholder: 'chat:17:*', 'aria-label': 'Channels' });
  const boxes = actions.map((action) => [action, h('input', { type: 'checkbox', checked: chosen.includes(action) })]);
  const node = h('div', { class: 'scope' }, name,
    h('div', { class: 'row' }, boxes.map(([action, box]) => h('label', { class: 'check inline' }, box, h('span', {}, action)))),
    iconButton('trash', 'Remove this pattern', () => onremove(node)));
  return { node, value: () => [name.value.trim(), boxes.filter(([, box]) => box.checked).map(([action]) => action)] };
}

function makeCard(use) {
  const key = h('select', {});
  const signer = field('Server key that signs', key);
  const sub = field('Subject (sub)', text({ value: 'user-17' }), { hint: 'Who the client is, in the words of your backend.' });
  const life = field('Good for', select(lifetimes, '15m'));
  const origins = field('Only pages of', text({ placeholder: 'https://app.example.com' }), { hint: 'Separated by commas; empty for any client.' });
  const rows = h('div', { class: 'rules' });
  const scopes = new Map();
  const add = (pattern, chosen) => {
    const editor = scopeEditor(pattern, chosen, (node) => { scopes.delete(node); node.remove(); });
    scopes.set(editor.node, editor);
    rows.append(editor.node);
  };
  add('news', ['subscribe', 'history']);
  const problem = h('p', { class: 'problem', role: 'alert' });
  const made = h('div', { role: 'status' });
  const make = h('button', { type: 'button', class: 'btn primary', disabled: true, onclick: () => busy(make, sign) }, 'Make a token');
  async function sign() {
    setText(problem, '');
    fill(made);
    const channels = Object.fromEntries([...rows.children].map((node) => scopes.get(node).value()));
    const list = origins.input.value.split(/[\s,]+/).filter(Boolean);
    try {
      const { token, expiresAt } = await post(path('keys', key.value, 'token'), {
        channels, lifetime: life.input.value, ...(sub.input.value ? { sub: sub.input.value } : {}), ...(list.length ? { origins: list } : {}),
      });
      fill(made, h('div', { class: 'field' },
        h('span', { class: 'label' }, `Token, good until ${moment(expiresAt)}`),
        h('span', { class: 'secret boxed' }, h('code', { class: 'mono wrap' }, token), copyButton(token, 'Copy', 'the token'))),
      h('p', { class: 'hint' }, 'It travels where a key would: as apiKey of a client, as x-api-key over HTTP. ', button('Test it', () => use(token), { small: true })));
    } catch (error) {
      setText(problem, error.message);
    }
  }
  let shown = '';
  return {
    node: card('Make a token', { id: 'make', hint: 'As your backend would sign it, to try something out. Making one is in the audit.' },
      h('div', { class: 'columns' }, signer.node, sub.node, life.node, origins.node),
      h('div', { class: 'part' }, h('h3', {}, 'Allowed in channels'), rows,
        h('div', { class: 'row between' }, button('Add a pattern', () => add('', ['subscribe']), { small: true, iconName: 'plus' }), make)),
      problem, made),
    update(project) {
      const keys = project.keys.filter((k) => k.kind === 'server');
      const now = JSON.stringify(keys.map((k) => [k.id, k.name]));
      make.disabled = keys.length === 0;
      if (now === shown) return;
      shown = now;
      const before = key.value;
      fill(key, keys.map((k) => h('option', { value: k.id, selected: k.id === before }, `${k.name} (${k.id})`)));
      signer.say(keys.length ? '' : 'The project has no server key.');
    },
  };
}

// verdict shows what a node thinks of a token.
function verdict(v, project) {
  const fact = (label, ...content) => h('div', {}, h('dt', {}, label), h('dd', {}, content));
  const foreign = v.project && v.project !== project;
  return h('div', { class: 'stack tight' },
    h('p', { class: `notice ${v.valid ? 'good' : 'bad'}` }, icon(v.valid ? 'check' : 'warn'), h('span', {}, v.valid ? 'A client may connect with it.' : `Refused: ${v.reason}`)),
    h('dl', { class: 'facts column' },
      v.code && fact('Code that a client gets', badge(v.code, 'bad')),
      v.kind && fact('Kind', kindBadge(v.kind)),
      v.keyId && fact('Key', h('code', {}, v.keyId)),
      foreign && fact('Project', 'another one: ', h('a', { href: projectLink(v.project) }, v.project)),
      v.sub && fact('Subject', v.sub),
      v.expiresAt && fact('Ends', `${moment(v.expiresAt)}, ${v.expiresAt > Date.now() ? `in ${span(v.expiresAt - Date.now())}` : 'over'}`),
      (v.actions ?? []).map((a) => fact(a.action, badge(a.allowed ? 'allowed' : 'refused', a.allowed ? 'good' : 'bad'), a.reason ? ` ${a.reason}` : ''))));
}

function testCard(id) {
  const token = field('Token or key', h('textarea', { class: 'mono', rows: 4, spellcheck: false, autocomplete: 'off' }));
  const channel = field('In channel', text({ placeholder: 'news' }));
  const origin = field('From a page of', text({ placeholder: 'https://app.example.com' }), { hint: 'Empty: origins are not judged.' });
  const answer = h('div', { role: 'status' });
  const ask = h('button', { type: 'button', class: 'btn primary', onclick: () => busy(ask, check) }, 'Test');
  async function check() {
    const value = token.input.value.trim();
    token.say(value ? '' : 'Paste a token or a key.');
    if (!value) return;
    const body = { token: value };
    if (channel.input.value) body.channel = channel.input.value;
    if (origin.input.value) body.origin = origin.input.value.trim();
    fill(answer, verdict(await post('/client-tokens/check', body), id));
  }
  return {
    node: card('Test a token or key', { id: 'test', hint: 'A node judges it as if a client had sent it. Nothing is counted as an attempt.' },
      token.node, h('div', { class: 'columns' }, channel.node, origin.node), h('div', { class: 'row end' }, ask), answer),
    use(value) {
      token.input.value = value;
      ask.scrollIntoView({ block: 'center' });
      busy(ask, check);
    },
  };
}

export default function clientTokensPage({ project: id, signal }) {
  const head = projectHead(id, projectLink(id, 'tokens'));
  const test = testCard(id);
  const make = makeCard(test.use);
  poll(signal, 10_000, async () => {
    const project = await projectOf(id, signal);
    if (signal.aborted) return;
    head.update(project);
    make.update(project);
  });
  return [head.node, h('div', { class: 'stack wide' },
    may('operator') ? make.node : h('section', { class: 'card' }, empty('Only operators make tokens', 'A viewer can test them below.')), test.node)];
}
