// What a public key may do by itself, and how much a project may use.
import { h, setText } from '../dom.js';
import { patch, path } from '../api.js';
import { busy, button, card, choice, field, iconButton, toast } from '../parts.js';
import { may } from '../session.js';

const split = (text) => text.split(/[\s,]+/).filter(Boolean);

// grantEditor is one pattern that a public key may publish to.
function grantEditor(grant, onchange, onremove) {
  const input = (label, props) => {
    const node = h('input', { autocomplete: 'off', spellcheck: false, oninput: onchange, 'aria-label': label, ...props });
    return [h('div', { class: 'rule-cell' }, h('span', { class: 'label' }, label), node), node];
  };
  const [patternCell, pattern] = input('Channels', { value: grant.pattern, class: 'mono', placeholder: 'cursor:*' });
  const [rateCell, rate] = input('A second', { type: 'number', min: 0, step: 'any', value: grant.rate });
  const [burstCell, burst] = input('At once', { type: 'number', min: 1, value: grant.burst });
  const node = h('div', { class: 'rule grant' }, patternCell, rateCell, burstCell,
    h('div', { class: 'row nowrap rule-actions' }, iconButton('trash', 'Remove this grant', () => onremove(node))));
  return { node, value: () => ({ pattern: pattern.value.trim(), rate: Number(rate.value), burst: Number(burst.value) }) };
}

export function accessCard(project, onsaved) {
  const access = project.access ?? { subscribe: ['*'], publish: [] };
  const quotas = project.quotas ?? { connections: 0, channels: 0, publishRate: 0, subscriptions: 0 };
  const save = h('button', { type: 'button', class: 'btn primary', disabled: true }, 'Save access');
  const problem = h('p', { class: 'problem', role: 'alert' });
  const changed = () => { save.disabled = !may('operator'); };

  const open = access.subscribe === null || access.subscribe.includes('*');
  const patterns = field('Patterns', h('input', { class: 'mono', value: open ? '' : access.subscribe.join(', '), placeholder: 'news, public:*', autocomplete: 'off', spellcheck: false, oninput: changed }),
    { hint: 'Separated by commas. None at all: only clients with a token may subscribe.' });
  patterns.node.hidden = open;
  const mode = choice('Subscribe', [
    ['all', 'Any channel', 'Everybody with the public key may subscribe to every channel.'],
    ['some', 'Only these channels', 'Others need a token that your backend signs for a user.'],
  ], open ? 'all' : 'some', (value) => { patterns.node.hidden = value === 'all'; changed(); });

  const rows = h('div', { class: 'rules' });
  const grants = new Map();
  const remove = (node) => { grants.delete(node); node.remove(); changed(); };
  const add = (grant) => {
    const editor = grantEditor(grant, changed, remove);
    grants.set(editor.node, editor);
    rows.append(editor.node);
    return editor.node;
  };
  (access.publish ?? []).forEach(add);

  const list = (label, hint, value) => field(label, h('input', { class: 'mono', value: (value ?? []).join(', '), placeholder: 'room:*', autocomplete: 'off', spellcheck: false, oninput: changed }), { hint });
  const enter = list('Be a member of', 'patterns separated by commas; only channels whose rule takes anonymous members', access.presence);
  const see = list('See the members of', 'patterns separated by commas', access.members);
  const number = (label, hint, value) => field(label, h('input', { type: 'number', min: 0, value, oninput: changed }), { hint });
  const connections = number('Connections', 'open at a time', quotas.connections);
  const channels = number('Channels', 'that exist', quotas.channels);
  const subscriptions = number('Subscriptions', 'of all connections together', quotas.subscriptions);
  const members = number('Members', 'of all channels together; 0 stands for 100,000', quotas.members ?? 0);
  const rate = number('Publishes', 'a second', quotas.publishRate);
  const first = field('First offset of new channels', h('input', { type: 'number', min: project.firstOffset, value: project.firstOffset, oninput: changed }),
    { hint: 'Raise it above what browsers have stored from elsewhere, before you move here. It can only grow.' });

  const value = () => ({
    access: { subscribe: mode.value() === 'all' ? ['*'] : split(patterns.input.value), publish: [...rows.children].map((node) => grants.get(node).value()), presence: split(enter.input.value), members: split(see.input.value) },
    quotas: { connections: Number(connections.input.value), channels: Number(channels.input.value), publishRate: Number(rate.input.value), subscriptions: Number(subscriptions.input.value), members: Number(members.input.value) },
    ...(Number(first.input.value) === project.firstOffset ? {} : { firstOffset: Number(first.input.value) }),
  });
  const before = JSON.stringify(value());
  save.addEventListener('click', () => busy(save, async () => {
    setText(problem, '');
    try {
      onsaved(await patch(path('projects', project.id), value()));
    } catch (error) {
      setText(problem, error.message);
      return;
    }
    toast('Access saved.');
  }));
  const node = card('Access and limits', { id: 'access', hint: 'What a public key may do without a token, and how much the project may use of the cluster.' },
    h('div', { class: 'part' }, h('h3', {}, 'Subscribe with a public key'), mode.node, patterns.node),
    h('div', { class: 'part' }, h('h3', {}, 'Publish with a public key'),
      h('p', { class: 'hint' }, rows.children.length ? 'Per connection.' : 'Not allowed. Grant it per pattern, for cursors or typing signs, at a bounded rate for each connection.'),
      rows,
      may('operator') && h('div', { class: 'row' }, button('Add a grant', () => { const node = add({ pattern: '', rate: 10, burst: 20 }); changed(); node.querySelector('input').focus(); }, { small: true, iconName: 'plus' }))),
    h('div', { class: 'part' }, h('h3', {}, 'Members with a public key'), h('div', { class: 'columns' }, enter.node, see.node)),
    h('div', { class: 'part' }, h('h3', {}, 'Limits of the project'), h('p', { class: 'hint' }, 'Over the whole cluster. 0 means no limit.'),
      h('div', { class: 'columns' }, connections.node, channels.node, subscriptions.node, members.node, rate.node)),
    h('div', { class: 'part' }, h('h3', {}, 'Moving here'), first.node),
    problem, may('operator') && h('div', { class: 'row end' }, save));
  return { node, dirty: () => JSON.stringify(value()) !== before };
}
