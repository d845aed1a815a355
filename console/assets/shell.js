// What surrounds every page: navigation, the node that serves it, the session.
import { h, fill, setText } from './dom.js';
import { get } from './api.js';
import { icon } from './icons.js';
import { poll } from './live.js';
import { iconButton, toast } from './parts.js';
import { session, may } from './session.js';

const places = [
  ['projects', 'Projects', '/projects', 'viewer'],
  ['connections', 'Connections', '/connections', 'viewer'],
  ['refusals', 'Refusals', '/refusals', 'viewer'],
  ['cluster', 'Cluster', '/cluster', 'viewer'],
  ['audit', 'Audit log', '/audit', 'viewer'],
  ['api', 'API', '/api', 'viewer'],
  ['tokens', 'Admin tokens', '/tokens', 'owner'],
];

function switchTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme === 'dark'
    || (!document.documentElement.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.dataset.theme = dark ? 'light' : 'dark';
  localStorage.setItem('theme', document.documentElement.dataset.theme);
  dispatchEvent(new CustomEvent('themed'));
}

// shell returns the frame of all pages. leave ends what runs in it.
export function shell(onleave) {
  const life = new AbortController();
  const main = h('main', { id: 'main', tabIndex: -1 });
  const links = places.filter(([, , , role]) => may(role)).map(([name, text, place]) =>
    h('a', { href: '#' + place, class: 'nav-link', onclick: () => open(false) }, icon(name), h('span', {}, text)));
  const health = h('a', { href: '#/cluster', class: 'health' }, h('span', { class: 'dot' }), h('span', {}, 'Asking the cluster…'));
  const banner = h('div', { class: 'banner', role: 'alert', hidden: true });
  const title = h('span', { class: 'bar-title' });
  const toggle = h('button', {
    type: 'button', class: 'btn bare menu', 'aria-label': 'Menu', 'aria-expanded': 'false',
    onclick: () => open(toggle.getAttribute('aria-expanded') !== 'true'),
  }, icon('menu'));
  const nav = h('nav', { class: 'nav', 'aria-label': 'Main' },
    h('div', { class: 'nav-links' }, links),
    h('div', { class: 'nav-foot' },
      health,
      h('div', { class: 'who' },
        h('div', {}, h('strong', {}, session.name), h('span', { class: 'hint' }, session.role)),
        iconButton('sun', 'Switch between light and dark', switchTheme),
        iconButton('leave', 'Sign out', () => onleave().catch((error) => toast(error.message, 'bad'))))));
  const node = h('div', { class: 'shell' },
    h('a', { href: '#main', class: 'skip', onclick: (e) => { e.preventDefault(); main.focus(); } }, 'Skip to the page'),
    h('div', { class: 'bar' },
      h('a', { href: '#/projects', class: 'brand' }, h('img', { src: 'icon.svg', alt: '', width: 24, height: 24 }), h('span', {}, 'aptlyd')),
      title, toggle),
    nav, h('div', { class: 'page' }, banner, main));

  function open(yes) {
    if (yes === node.classList.contains('open')) return;
    toggle.setAttribute('aria-expanded', String(yes));
    fill(toggle, icon(yes ? 'close' : 'menu'));
    node.classList.toggle('open', yes);
  }
  addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !node.classList.contains('open')) return;
    open(false);
    toggle.focus();
  }, { signal: life.signal });

  let lost = ''; // why there is no majority
  const say = (text) => {
    setText(banner, text);
    banner.hidden = !text;
  };
  addEventListener('unreached', ({ detail }) => say(detail.code === 'unreachable'
    ? 'This node does not answer. What you see is from before; the page goes on as soon as it is back. The console of any other node shows the same cluster.'
    : lost || `Not up to date: ${detail.message}`), { signal: life.signal });
  addEventListener('reached', () => say(lost), { signal: life.signal });

  poll(life.signal, 3000, async () => {
    const status = await get('/status', life.signal);
    const up = status.members.filter((m) => m.state === 'alive').length;
    const all = status.members.length;
    const bad = !status.leader ? 'bad' : up < all ? 'warn' : 'good';
    fill(health, h('span', { class: `dot ${bad}` }),
      h('span', {}, !status.leader ? 'No leader' : all === 1 ? status.node : `${up} of ${all} nodes up`));
    health.title = `Served by ${status.node}`;
    // A page that cannot be served now would say only that; this says who is missing.
    lost = status.quorum?.held === false ? `${status.quorum.text} You stay signed in; what needs the cluster goes on when it is back.` : '';
    say(lost);
  });

  return {
    node, main,
    arrived(place, name) {
      open(false);
      setText(title, name);
      for (const link of links) {
        const target = link.getAttribute('href').slice(1);
        const here = place === target || place.startsWith(target + '/');
        if (here) link.setAttribute('aria-current', 'page');
        else link.removeAttribute('aria-current');
      }
      scrollTo(0, 0);
    },
    leave: () => life.abort(),
  };
}
