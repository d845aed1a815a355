// Which web pages may connect: the editor and the tester.
import { h, fill, setText } from '../dom.js';
import { patch, path, post } from '../api.js';
import { badge, button, card, iconButton, toast, busy } from '../parts.js';
import { icon } from '../icons.js';
import { may } from '../session.js';

// check asks the node what it thinks of rules and of an origin.
const check = (rules, allowNativeClients, origin) => post('/origins/check', { rules, allowNativeClients, origin });

// debounced runs the last of several calls once they have paused.
function debounced(ms, work) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, ms);
  };
}

// originsField edits the origins of a project. Each is judged while it is typed.
export function originsField(origins, native, onchange = () => {}, label = '') {
  const rows = h('div', { class: 'stack tight' });
  const allowNative = h('input', { type: 'checkbox', checked: native, onchange: () => { judge(); onchange(); } });
  const tested = h('input', { placeholder: 'https://app.example.com', autocomplete: 'off', spellcheck: false, 'aria-label': 'Origin to test', inputMode: 'url' });
  const verdict = h('p', { class: 'verdict', role: 'status' });
  const inputs = () => [...rows.querySelectorAll('input')];
  const rules = () => inputs().map((i) => i.value.trim()).filter(Boolean);
  let valid = true;

  const judge = debounced(200, async () => {
    const filled = inputs().filter((i) => i.value.trim());
    let answer;
    try {
      answer = await check(filled.map((i) => i.value.trim()), allowNative.checked, tested.value.trim());
    } catch (error) {
      setText(verdict, error.message);
      return;
    }
    valid = answer.rules.every((r) => r.valid);
    inputs().forEach((input) => {
      const judged = answer.rules[filled.indexOf(input)];
      input.toggleAttribute('aria-invalid', Boolean(judged && !judged.valid));
      setText(input.closest('.origin').querySelector('.problem'), judged && !judged.valid ? judged.error : '');
    });
    verdict.hidden = !tested.value.trim();
    fill(verdict, badge(answer.allowed ? 'allowed' : 'refused', answer.allowed ? 'good' : 'bad'), 
      h('span', {}, answer.reason, answer.note && h('br'), answer.note && h('span', { class: 'hint' }, answer.note)));
    onchange();
  });
  tested.addEventListener('input', judge);

  function add(text) {
    const row = h('div', { class: 'origin' },
      h('div', { class: 'row nowrap' },
        h('input', { value: text, class: 'mono', placeholder: 'https://app.example.com', autocomplete: 'off', spellcheck: false, 'aria-label': 'Allowed origin', inputMode: 'url', oninput: judge }),
        iconButton('trash', 'Remove this origin', () => { row.remove(); judge(); onchange(); })),
      h('p', { class: 'problem', role: 'alert' }));
    rows.append(row);
    return row;
  }
  origins.forEach(add);
  const suggest = (text) => button(text, () => {
    if (!rules().includes(text)) add(text);
    judge();
    onchange();
  }, { small: true, iconName: 'plus' });
  const node = h('div', { class: 'field' },
    label && h('span', { class: 'label' }, label),
    h('p', { class: 'hint' }, 'Web pages from these origins may connect with a public key. Write https://app.example.com, https://*.example.com for all hosts below, or http://localhost:* for any port. Apps in a web view have origins such as capacitor://localhost, tauri://localhost or app://.; the tester says what each is worth. With no entry every browser is refused.'),
    rows,
    h('div', { class: 'row' },
      button('Add an origin', () => add('').querySelector('input').focus(), { small: true, iconName: 'plus' }),
      suggest('http://localhost:*')),
    h('label', { class: 'check' }, allowNative, h('span', {}, h('strong', {}, 'Allow native apps'),
      h('span', { class: 'hint' }, 'Clients without an origin: mobile apps, servers, scripts with the public key.'))),
    h('div', { class: 'tester' }, h('span', { class: 'label' }, 'Would this origin be allowed?'), tested, verdict));
  verdict.hidden = true;
  return {
    node,
    valid: () => valid,
    value: () => ({ allowedOrigins: rules(), allowNativeClients: allowNative.checked }),
  };
}

// originsCard is the editor on the page of a project.
export function originsCard(project, onsaved) {
  const save = h('button', { type: 'button', class: 'btn primary', disabled: true }, 'Save origins');
  const stored = JSON.stringify({ allowedOrigins: project.allowedOrigins, allowNativeClients: project.allowNativeClients });
  const editor = originsField(project.allowedOrigins, project.allowNativeClients, () => {
    save.disabled = !may('operator') || !editor.valid() || JSON.stringify(editor.value()) === stored;
  });
  save.addEventListener('click', () => busy(save, async () => {
    onsaved(await patch(path('projects', project.id), editor.value()));
    toast('Origins saved. Connections that they no longer allow are closed.');
  }));
  const first = JSON.stringify(editor.value());
  const warning = project.allowedOrigins.length === 0 && !project.allowNativeClients
    && h('p', { class: 'notice warn' }, icon('warn'), h('span', {}, 'No origin is allowed yet, so every browser is refused.'));
  return {
    node: card('Allowed origins', { id: 'origins' }, warning, editor.node, h('div', { class: 'row end' }, save)),
    dirty: () => JSON.stringify(editor.value()) !== first,
  };
}
