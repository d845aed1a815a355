import { h, fill, setText } from '../dom.js';
import { all, del, patch, path, purge } from '../api.js';
import { plural } from '../format.js';
import { poll } from '../live.js';
import { button, card, confirm, dialog, field, form, heading, tabs, toast } from '../parts.js';
import { may } from '../session.js';
import { accessCard } from './access.js';
import { connectCard } from './connect.js';
import { keysCard } from './keys.js';
import { originsCard } from './origins.js';
import { projectLink, projectOf } from './projects.js';
import { rulesCard } from './rules.js';

export function projectHead(id, current, name) {
  const title = h('span', {}, name ?? '…');
  const links = [['Overview', projectLink(id)], ['Channels', projectLink(id, 'channels')], ['Connections', projectLink(id, 'connections')], ['Refusals', projectLink(id, 'refusals')]];
  return {
    node: [heading(title, { crumbs: [['Projects', '#/projects']] }), tabs(links, current)],
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

export default function projectPage({ project: id, signal }) {
  const head = projectHead(id, projectLink(id));
  const start = startCard(id);
  const connect = connectCard();
  const keys = keysCard(() => again());
  const settings = h('div', { class: 'stack wide' });
  let shown = '';

  // The editors hold what the operator types: they are made anew only when what is
  // stored has changed through them, or before they were touched.
  function showSettings(project) {
    const stored = JSON.stringify([project.name, project.allowedOrigins, project.allowNativeClients, project.rules, project.access, project.quotas, project.firstOffset]);
    if (stored === shown) return;
    if (shown && settings.contains(document.activeElement) && document.activeElement.matches('input, select')) return;
    shown = stored;
    const saved = (changed) => { shown = ''; update(changed); };
    fill(settings, originsCard(project, saved), rulesCard(project, saved), accessCard(project, saved), may('operator') && dangerCard(project, saved));
  }

  function update(project) {
    head.update(project);
    connect.update(project);
    keys.update(project);
    showSettings(project);
  }

  const again = poll(signal, 2000, async () => {
    const project = await projectOf(id, signal);
    update(project);
    start.update(project, await all(path('projects', id, 'channels'), 'channels', 100, signal));
  });
  return [head.node, h('div', { class: 'stack wide' }, start.node, connect.node, keys.node, settings)];
}
