import { h } from '../dom.js';
import { all, del, path, post } from '../api.js';
import { ago, moment, span } from '../format.js';
import { poll } from '../live.js';
import { badge, button, choice, confirm, dialog, empty, field, form, heading, reveal, table, toast } from '../parts.js';
import { session } from '../session.js';

async function createToken(refresh) {
  const made = await dialog('New admin token', (settle) => {
    const name = field('Name', h('input', { autocomplete: 'off', maxLength: 100, placeholder: 'Who or what uses it', data: { first: '' } }));
    const role = choice('Role', [
      ['viewer', 'Viewer', 'Sees everything, changes nothing.'],
      ['operator', 'Operator', 'Also changes projects, keys, channels and connections.'],
      ['owner', 'Owner', 'Also admin tokens, members, settings and backups.'],
    ], 'operator');
    return form([name.node, role.node], {
      submit: 'Create token', cancel: () => settle(undefined),
      async work() {
        name.say(name.input.value.trim() ? '' : 'A token needs a name.');
        if (name.input.value.trim()) settle(await post('/tokens', { name: name.input.value.trim(), role: role.value() }));
      },
    });
  });
  if (!made) return;
  refresh();
  await reveal(`Admin token ${made.name}`, 'Store this now: it is shown this one time.', [['Admin token', made.token]]);
}

export default function tokensPage({ signal }) {
  async function revoke(token) {
    const mine = token.id === session.id;
    const done = await confirm(`Revoke ${token.name}`, {
      text: mine ? 'This is your own session: you will be signed out.' : 'It ends now on every node, with the console sessions that were opened with it.',
      action: 'Revoke token', work: () => del(path('tokens', token.id)),
    });
    if (!done) return;
    toast('Token revoked.');
    again();
  }
  const list = table([
    { label: 'Name', class: 'strong lead', text: (t) => t.name + (t.id === session.id), node: (t) => h('span', { class: 'row' }, t.name, t.id === session.id && badge('you', 'good')) },
    { label: 'Role', text: (t) => t.role, node: (t) => badge(t.role, t.role === 'owner' ? 'accent' : '') },
    { label: 'Created', class: 'quiet', text: (t) => moment(t.createdAt) },
    { label: 'Last used', class: 'quiet', text: (t) => ago(t.lastUsedAt), title: (t) => moment(t.lastUsedAt) },
    { label: 'Ends', class: 'quiet', text: (t) => t.expiresAt ? `in ${span(t.expiresAt - Date.now())}` : 'never' },
    { label: '', class: 'actions', text: () => 'x', node: (t) => h('div', { class: 'row end' }, button('Revoke', () => revoke(t), { small: true, kind: 'danger' })) },
  ], { key: (t) => t.id, none: empty('No token', 'Give everybody a token of their own: the audit log then says who did what.') });
  const again = poll(signal, 3000, async () => {
    const tokens = await all('/tokens', 'tokens', 1000, signal);
    list.show(tokens.sort((a, b) => a.createdAt - b.createdAt));
  });
  return [heading('Admin tokens', {
    hint: 'Who may operate this cluster. Give everybody a token of their own: the audit log then says who did what.',
    actions: button('New token', () => createToken(again), { kind: 'primary', iconName: 'plus' }),
  }), h('section', { class: 'card flush' }, list.node)];
}
