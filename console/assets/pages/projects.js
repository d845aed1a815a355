import { h } from '../dom.js';
import { all, get, path, post } from '../api.js';
import { compact, moment, plural } from '../format.js';
import { poll } from '../live.js';
import { button, card, dialog, empty, field, form, heading, reveal, table } from '../parts.js';
import { may } from '../session.js';
import { secretsOf } from './keys.js';
import { originsField } from './origins.js';

export const projectLink = (...places) => '#/' + ['projects', ...places].map(encodeURIComponent).join('/');

// createProject asks for a name and origins, shows the new keys and opens the
// project.
async function createProject() {
  const made = await dialog('New project', (settle) => {
    const name = field('Name', h('input', { autocomplete: 'off', maxLength: 100, placeholder: 'Shop', data: { first: '' } }));
    const origins = originsField(['http://localhost:*'], false, undefined, 'Allowed origins');
    return form([name.node, origins.node], {
      submit: 'Create project', cancel: () => settle(undefined),
      async work() {
        name.say(name.input.value.trim() ? '' : 'A project needs a name.');
        if (!name.input.value.trim()) return;
        settle(await post('/projects', { name: name.input.value.trim(), ...origins.value() }));
      },
    });
  }, { wide: true });
  if (!made) return;
  const secrets = made.keys.filter((k) => k.kind === 'server').flatMap(secretsOf);
  await reveal(`Keys of ${made.name}`, 'Store these in your backend now: they are shown this one time. The public key stays visible in the project.', secrets);
  location.hash = projectLink(made.id);
}

export default function projectsPage({ signal }) {
  const create = may('operator') && button('New project', createProject, { kind: 'primary', iconName: 'plus' });
  const list = table([
    { label: 'Project', class: 'strong lead', text: (p) => p.name, link: (p) => projectLink(p.id) },
    { label: 'Public key', class: 'mono quiet', text: (p) => p.keys.find((k) => k.kind === 'public')?.prefix.concat('…') ?? 'none' },
    { label: 'Connections', class: 'number', text: (p) => figure(p.id, 'connections') },
    { label: 'Publishes', class: 'number', text: (p) => figure(p.id, 'publishes') },
    { label: 'Refusals', class: 'number', text: (p) => figure(p.id, 'refusals') },
    { label: 'Keys', class: 'number minor', text: (p) => p.keys.length },
    { label: 'Allowed origins', class: 'wrap wide', text: (p) => p.allowedOrigins.join(', ') || (p.allowNativeClients ? 'native clients only' : 'none: browsers are refused') },
    { label: 'Created', class: 'quiet', text: (p) => moment(p.createdAt) },
  ], {
    key: (p) => p.id,
    none: empty('No project yet', 'A project owns keys and channels. Make one, and its page shows how to connect.', create && button('New project', createProject, { kind: 'primary' })),
    href: true,
  });
  let usage = new Map();
  const figure = (id, name) => compact(usage.get(id)?.[name] ?? 0);
  poll(signal, 15_000, async () => {
    usage = new Map((await all('/usage', 'usage', 1000, signal)).map((u) => [u.project, u]));
  });
  const total = h('p', { class: 'hint' });
  poll(signal, 3000, async () => {
    const projects = await all('/projects', 'projects', 1000, signal);
    projects.sort((a, b) => a.name.localeCompare(b.name) || a.createdAt - b.createdAt);
    list.show(projects);
    total.textContent = projects.length ? `${plural(projects.length, 'project')}. Connections are the most at a time, and all figures those of the last 24 hours.` : '';
  });
  return [heading('Projects', { hint: 'A project owns keys and channels, and says which web pages may connect.', actions: create }),
    h('section', { class: 'card flush' }, list.node), total];
}

// projectOf asks for a project by id.
export const projectOf = (id, signal) => get(path('projects', id), signal);
