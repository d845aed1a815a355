// Channel rules: how long messages are kept, and where a new subscriber begins.
import { h, setText } from '../dom.js';
import { patch, path } from '../api.js';
import { busy, button, card, iconButton, select, toast } from '../parts.js';
import { icon } from '../icons.js';
import { may } from '../session.js';

const fresh = () => ({ pattern: '', keepMessages: 1000, keepFor: '24h', keepBytes: 0, initial: 'all', durability: 'quorum' });
const freshPresence = { grace: '10s', maxMembers: 1000, dataBytes: 1024, anonymous: false };

// ruleEditor is one rule as a row of inputs; value() is the rule as the API takes
// it, and throws when it is not one.
function ruleEditor(rule, { onchange, onremove, onup }) {
  const input = (value, label, props = {}) => h('input', { value, 'aria-label': label, oninput: onchange, autocomplete: 'off', spellcheck: false, ...props });
  const pattern = input(rule.pattern, 'Pattern', { class: 'mono', placeholder: 'chat:*' });
  const messages = input(rule.keepMessages, 'Messages kept', { type: 'number', min: 1 });
  const keepFor = input(rule.keepFor, 'Kept for', { class: 'mono', placeholder: '24h' });
  const size = input(rule.keepBytes, 'Bytes kept, 0 for no bound', { type: 'number', min: 0 });
  const last = rule.initial.last ?? 50;
  const initial = select([['all', 'everything kept'], ['live', 'only what is new'], ['last', 'the last …']], rule.initial.last ? 'last' : rule.initial,
    { 'aria-label': 'A new subscriber gets', onchange: () => { lastN.hidden = initial.value !== 'last'; onchange(); } });
  const lastN = input(last, 'Number of last messages', { type: 'number', min: 1, hidden: !rule.initial.last });
  const durability = select([['quorum', 'quorum'], ['memory', 'memory']], rule.durability, { 'aria-label': 'Durability', onchange });
  const kept = rule.presence ?? freshPresence;
  const members = select([['none', 'none'], ['users', 'users'], ['all', 'users and anonymous']], !rule.presence ? 'none' : kept.anonymous ? 'all' : 'users',
    { 'aria-label': 'Members', onchange: () => { for (const each of [grace, most, data]) each.hidden = members.value === 'none'; onchange(); } });
  const grace = input(kept.grace, 'Grace of members whose connection broke', { class: 'mono', placeholder: '10s', hidden: !rule.presence });
  const most = input(kept.maxMembers, 'Members that are told by name at most', { type: 'number', min: 1, hidden: !rule.presence });
  const data = input(kept.dataBytes, 'Bytes of data of a member', { type: 'number', min: 0, hidden: !rule.presence });
  const cell = (label, ...content) => h('div', { class: 'rule-cell' }, h('span', { class: 'label' }, label), ...content);
  const node = h('div', { class: 'rule' },
    cell('Channels', pattern), cell('Max messages', messages), cell('Max age', keepFor), cell('Max bytes', size),
    cell('New subscribers get', h('div', { class: 'row nowrap' }, initial, lastN)), cell('Durability', durability),
    cell('Members', h('div', { class: 'row nowrap' }, members, grace, most, data)),
    h('div', { class: 'row nowrap rule-actions' }, iconButton('up', 'Move this rule up', () => onup(node)), iconButton('trash', 'Remove this rule', () => onremove(node))));
  return {
    node,
    value: () => ({
      pattern: pattern.value.trim(), keepMessages: Number(messages.value), keepFor: keepFor.value.trim(), keepBytes: Number(size.value),
      initial: initial.value === 'last' ? { last: Number(lastN.value) } : initial.value, durability: durability.value,
      ...(members.value === 'none' ? {} : {
        presence: { grace: grace.value.trim(), maxMembers: Number(most.value), dataBytes: Number(data.value), anonymous: members.value === 'all' },
      }),
    }),
  };
}

export function rulesCard(project, onsaved) {
  const rows = h('div', { class: 'rules' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  const save = h('button', { type: 'button', class: 'btn primary', disabled: true }, 'Save rules');
  const editors = new Map();
  const changed = () => { save.disabled = !may('operator'); none.hidden = rows.children.length > 0; };
  const handlers = {
    onchange: changed,
    onremove: (node) => { editors.delete(node); node.remove(); changed(); },
    onup: (node) => { node.previousElementSibling?.before(node); changed(); },
  };
  function add(rule) {
    const editor = ruleEditor(rule, handlers);
    editors.set(editor.node, editor);
    rows.append(editor.node);
    return editor.node;
  }
  const none = h('p', { class: 'hint' }, 'No rule yet: the default applies to every channel.');
  project.rules.forEach(add);
  none.hidden = project.rules.length > 0;
  save.addEventListener('click', () => busy(save, async () => {
    setText(problem, '');
    try {
      onsaved(await patch(path('projects', project.id), { rules: [...rows.children].map((node) => editors.get(node).value()) }));
    } catch (error) {
      setText(problem, error.message);
      return;
    }
    toast('Rules saved.');
  }));
  const value = () => JSON.stringify([...rows.children].map((node) => editors.get(node).value()));
  const first = value();
  const node = card('Channel rules', { id: 'rules', hint: 'What a channel keeps, and what a new subscriber gets of it. The first rule whose pattern matches a channel applies. * may stand at the end of a pattern.' },
    none, rows,
    h('p', { class: 'rule-default' }, icon('check'), h('span', {}, 'All other channels: 1,000 messages for 24 hours, new subscribers get everything kept, quorum.')),
    problem,
    may('operator') && h('div', { class: 'row between' },
      button('Add a rule', () => { const node = add(fresh()); changed(); node.querySelector('input').focus(); }, { small: true, iconName: 'plus' }), save));
  return { node, dirty: () => value() !== first };
}
