import { h, fill, setText } from '../dom.js';
import { all, del, get, patch, path, purge } from '../api.js';
import { plural } from '../format.js';
import { icon } from '../icons.js';
import { poll } from '../live.js';
import { button, card, confirm, dialog, field, form, heading, tabs, toast } from '../parts.js';
import { may } from '../session.js';
import { track } from '../unsaved.js';
import { accessCard } from './access.js';
import { connectCard } from './connect.js';
import { figuresCard } from './figures.js';
import { keysCard } from './keys.js';
import { originsCard } from './origins.js';
import { projectLink, projectOf } from './projects.js';
import { rulesCard } from './rules.js';

export function projectHead(id, current, name) {
  const title = h('span', {}, name ?? '…');
  const links = [['Overview', projectLink(id)], ['Channels', projectLink(id, 'channels')], ['Connections', projectLink(id, 'connections')], ['Refusals', projectLink(id, 'refusals')],
    ['Usage', projectLink(id, 'usage')], ['Tokens', projectLink(id, 'tokens')]];
  return {
    node: [heading(title, { crumbs: [['Projects', '#/projects']] }), tabs('Project', links, current)],
    update: (project) => {
      setText(title, project.name);
      document.title = `${project.name} · aptlyd`;
    },
  };
}

// startCard leads from a new project to its first message, and goes away when
// there is one.
function startCard(id) {
  const steps = ['A client subscribes', 'A message is published', 'It arrives'].map((text) => h('li', {}, text));
  const node = card('Your first message', {
    hint: 'Watch a channel here and publish to it, then do the same from your own page with the lines below.',
    actions: h('a', { class: 'btn primary', href: projectLink(id, 'channels', 'news') }, 'Try it here'),
  }, h('ol', { class: 'steps' }, steps));
  node.hidden = true;
  return {
    node,
    update(project, channels) {
      const connected = project.keys.some((k) => k.connections > 0) || channels.some((c) => c.subscribers > 0);
      const published = channels.some((c) => c.offset > 0);
      const arrived = channels.some((c) => c.offset > 0 && c.subscribers > 0);
      [connected, published, arrived].forEach((done, i) => steps[i].classList.toggle('done', done));
      if (node.hidden && !published) node.hidden = false;
    },
  };
}

async function askToPurge(id) {
  await dialog('Purge a channel', (settle) => {
    const channel = field('Channel', h('input', { class: 'mono', autocomplete: 'off', spellcheck: false, data: { first: '' } }));
    return form([h('p', {}, 'All retained messages of the channel go. Offsets go on where they are, and subscribers stay.'), channel.node], {
      submit: 'Purge channel', kind: 'danger', cancel: () => settle(undefined),
      async work() {
        const purged = await purge(id, channel.input.value);
        toast(`Purged ${purged.channel}: ${plural(purged.purged, 'message')}.`);
        settle(true);
      },
    });
  });
}

async function rename(project, onsaved) {
  await dialog('Rename project', (settle) => {
    const name = field('Name', h('input', { value: project.name, maxLength: 100, autocomplete: 'off', data: { first: '' } }));
    return form([name.node], {
      submit: 'Rename', cancel: () => settle(undefined),
      async work() {
        onsaved(await patch(path('projects', project.id), { name: name.input.value.trim() }));
        settle(true);
      },
    });
  });
}

async function remove(project) {
  const done = await confirm(`Delete ${project.name}`, {
    text: 'Its keys end now, its connections are closed, and all of its channels and messages go. This cannot be undone.',
    action: 'Delete project', typed: project.name,
    work: () => del(path('projects', project.id)),
  });
  if (!done) return;
  toast(`Deleted project ${project.name}.`);
  location.hash = '#/projects';
}

function dangerCard(project, onsaved) {
  const line = (title, hint, action) => h('div', { class: 'danger-line' }, h('div', {}, h('strong', {}, title), h('p', { class: 'hint' }, hint)), action);
  return card('Danger zone', { id: 'danger', danger: true },
    line('Rename the project', 'The name is for people; nothing else depends on it.', button('Rename', () => rename(project, onsaved))),
    line('Purge a channel', 'Drops the retained messages of one channel.', button('Purge a channel', () => askToPurge(project.id), { kind: 'danger' })),
    line('Delete the project', 'Ends its keys and drops its channels.', button('Delete project', () => remove(project), { kind: 'danger' })));
}

// section holds one editor of a project. It is made anew when what is stored changes, unless
// it has changes of its own: then it says so.
function section(name, part, make, signal) {
  const node = h('div', { class: 'stack' });
  const notice = h('p', { class: 'notice warn', role: 'status', hidden: true });
  let stored;
  let editor;
  const dirty = () => Boolean(editor?.dirty());
  track(name, dirty, signal);
  function build(project) {
    stored = JSON.stringify(part(project));
    editor = make(project, (changed) => build(changed));
    notice.hidden = true;
    fill(node, notice, editor.node);
  }
  return {
    node,
    update(project) {
      const now = JSON.stringify(part(project));
      if (now === stored) return;
      if (stored !== undefined && dirty()) {
        notice.hidden = false;
        fill(notice, icon('warn'), h('span', {}, 'Somebody else has changed this meanwhile. Saving replaces their changes. '), button('Show theirs, drop mine', () => build(project), { small: true }));
        return;
      }
      if (stored !== undefined && node.contains(document.activeElement) && document.activeElement.matches('input, select')) return;
      build(project);
    },
  };
}

export default function projectPage({ project: id, signal }) {
  let open = null; // connections, once the project is known
  const head = projectHead(id, projectLink(id));
  const start = startCard(id);
  const figures = figuresCard(id, signal, () => open);
  const connect = connectCard();
  const keys = keysCard(() => again());
  const danger = h('div', {});
  const sections = [
    section('origins', (p) => [p.allowedOrigins, p.allowNativeClients], originsCard, signal),
    section('channel rules', (p) => p.rules, rulesCard, signal),
    section('access and limits', (p) => [p.access, p.quotas, p.firstOffset], accessCard, signal),
  ];
  let named = '';

  function update(project) {
    open = project.keys.reduce((sum, k) => sum + (k.connections ?? 0), 0);
    head.update(project);
    connect.update(project);
    keys.update(project);
    sections.forEach((s) => s.update(project));
    if (may('operator') && named !== project.name) fill(danger, dangerCard(project, update));
    named = project.name;
  }

  const again = poll(signal, 2000, async () => {
    const project = await projectOf(id, signal);
    if (signal.aborted) return;
    update(project);
    start.update(project, await all(path('projects', id, 'channels'), 'channels', 100, signal));
  });
  poll(signal, 10_000, async () => connect.reach(await get('/status', signal)));
  return [head.node, h('div', { class: 'stack wide' }, start.node, figures, connect.node, keys.node, sections.map((s) => s.node), danger)];
}
