// The keys of a project.
import { h } from '../dom.js';
import { del, path, post } from '../api.js';
import { ago, count, moment, plural, span } from '../format.js';
import { badge, button, card, choice, confirm, copyButton, dialog, empty, field, form, reveal, select, table, toast } from '../parts.js';
import { may } from '../session.js';
import { projectLink } from './projects.js';

const overlaps = [['1h', '1 hour'], ['24h', '24 hours'], ['168h', '7 days'], ['0s', 'none: the old key ends at once']];

// secretsOf lists what is shown once of a server key. The signing secret signs tokens that
// name the key by its id.
export const secretsOf = (key) => [
  [key.kind === 'server' ? 'Server key' : 'Public key', key.key],
  ...(key.signingSecret ? [['Token signing secret', key.signingSecret], ['Key id (KEY_ID of the signing example)', key.id]] : []),
];

const shownOnce = 'Store this now: a server key is shown this one time. Whoever has it can publish to every channel of the project.';

async function announce(key, title) {
  if (key.kind === 'server') await reveal(title, shownOnce, secretsOf(key));
}

async function createKey(project, refresh) {
  const made = await dialog('New key', (settle) => {
    const kind = choice('Kind', [
      ['public', 'Public key', 'For web pages and apps: may subscribe, from the allowed origins.'],
      ['server', 'Server key', 'For your backend: may publish and subscribe. Keep it secret.'],
    ], 'public');
    const text = field('Key', h('input', { autocomplete: 'off', spellcheck: false, class: 'mono', placeholder: 'empty to make one' }), {
      hint: 'To keep a key of the hosted service, paste it here.',
    });
    const name = field('Name', h('input', { autocomplete: 'off', maxLength: 100, placeholder: 'Where it is used' }));
    return form([kind.node, name.node, text.node], {
      submit: 'Create key', cancel: () => settle(undefined),
      async work() {
        const body = { kind: kind.value() };
        if (name.input.value.trim()) body.name = name.input.value.trim();
        if (text.input.value.trim()) body.key = text.input.value.trim();
        settle(await post(path('projects', project.id, 'keys'), body));
      },
    });
  });
  if (!made) return;
  refresh();
  await announce(made, `New server key ${made.name}`);
  if (made.kind === 'public') toast('Key created.');
}

async function rotateKey(key, refresh) {
  const made = await dialog(`Rotate ${key.name}`, (settle) => {
    const overlap = field('The old key lives on for', select(overlaps, '24h'), {
      hint: 'Both keys work meanwhile. Watch the connections on the old key, and revoke it when none is left.',
    });
    return form([h('p', {}, 'A new key is made now, with the same rights.'), overlap.node], {
      submit: 'Rotate key', cancel: () => settle(undefined),
      work: async () => settle(await post(path('keys', key.id, 'rotate'), { overlap: overlap.input.value })),
    });
  });
  if (!made) return;
  refresh();
  await announce(made, `New server key ${made.name}`);
  if (made.kind === 'public') toast('Rotated. Put the new key into your pages.');
}

async function revokeKey(key, refresh) {
  const open = key.connections ?? 0;
  const done = await confirm(`Revoke ${key.name}`, {
    text: `The key ends now, on every node${open ? `, and ${plural(open, 'connection')} that ${open === 1 ? 'uses' : 'use'} it ${open === 1 ? 'is' : 'are'} closed` : ''}. This cannot be undone.`,
    action: 'Revoke key',
    work: () => del(path('keys', key.id)),
  });
  if (done) {
    toast('Key revoked.');
    refresh();
  }
}

// keysCard lists the keys of a project; update is called with the project as it
// is now.
export function keysCard(refresh) {
  let project;
  const actions = (key) => may('operator') && h('div', { class: 'row end nowrap' },
    !key.expiresAt && button('Rotate', () => rotateKey(key, refresh), { small: true }),
    button('Revoke', () => revokeKey(key, refresh), { small: true, kind: 'danger' }));
  const list = table([
    { label: 'Name', class: 'strong lead', text: (k) => [k.name, k.kind, k.expiresAt].join(), node: (k) => h('span', { class: 'row' }, k.name, badge(k.kind, k.kind === 'server' ? 'accent' : ''), k.imported && badge('imported')) },
    {
      label: 'Key', class: 'mono wide', text: (k) => k.key ?? k.prefix,
      node: (k) => k.key ? h('span', { class: 'secret' }, h('code', { class: 'clip' }, k.key), copyButton(k.key, '', 'the public key')) : h('code', { class: 'quiet' }, k.prefix + '…'),
    },
    {
      label: 'Id', class: 'mono wide', text: (k) => k.id, node: (k) => h('span', { class: 'secret' }, h('code', { class: 'clip short quiet' }, k.id), copyButton(k.id, '', `the id of ${k.name}`)),
    },
    {
      label: 'Connections', class: 'number', text: (k) => k.connections ?? '–',
      node: (k) => k.connections === undefined ? '–' : h('a', { href: projectLink(project.id, 'connections') + `?key=${encodeURIComponent(k.id)}` }, count(k.connections)),
    },
    { label: 'Last used', class: 'quiet', text: (k) => (k.connections ? 'now' : ago(k.lastUsedAt)), title: (k) => moment(k.lastUsedAt) },
    {
      label: 'State', text: (k) => (k.expiresAt ? `ends in ${span(k.expiresAt - Date.now())}` : 'active'),
      node: (k) => k.expiresAt ? badge(`ends in ${span(k.expiresAt - Date.now())}`, 'warn') : badge('active', 'good'),
    },
    { label: '', class: 'actions', text: (k) => [k.id, k.expiresAt, k.connections].join(), node: (k) => actions(k) || '' },
  ], { key: (k) => k.id, none: empty('No key', 'Clients need a key to connect. Make a public one for web pages, a server one for your backend.') });
  return {
    node: card('API keys', {
      id: 'keys', hint: 'Public keys go into web pages, server keys stay in your backend.',
      actions: may('operator') && button('New key', () => createKey(project, refresh), { iconName: 'plus' }),
    }, list.node),
    update(now) {
      project = now;
      list.show([...now.keys].sort((a, b) => a.kind.localeCompare(b.kind) || a.createdAt - b.createdAt));
    },
  };
}
