// The console: signs in, then shows the page that the address names.
import { fill, h } from './dom.js';
import { mayLeave, unsaved } from './unsaved.js';
import { get, isID, signOut } from './api.js';
import { session } from './session.js';
import { shell } from './shell.js';
import signInPage from './pages/signin.js';
import projectsPage from './pages/projects.js';
import projectPage from './pages/project.js';
import channelsPage from './pages/channels.js';
import channelPage from './pages/channel.js';
import connectionsPage from './pages/connections.js';
import refusalsPage from './pages/refusals.js';
import clusterPage from './pages/cluster.js';
import membersPage from './pages/members.js';
import settingsPage from './pages/settings.js';
import doctorPage from './pages/doctor.js';
import backupPage from './pages/backup.js';
import usagePage from './pages/figures.js';
import clientTokensPage from './pages/clienttokens.js';
import explorerPage from './pages/explorer.js';
import auditPage from './pages/audit.js';
import tokensPage from './pages/tokens.js';

const routes = [
  ['/projects', projectsPage, 'Projects'],
  ['/projects/:project', projectPage, 'Project'],
  ['/projects/:project/channels', channelsPage, 'Channels'],
  ['/projects/:project/channels/:channel', channelPage, 'Channel'],
  ['/projects/:project/connections', connectionsPage, 'Connections'],
  ['/projects/:project/refusals', refusalsPage, 'Refusals'],
  ['/connections', connectionsPage, 'Connections'],
  ['/refusals', refusalsPage, 'Refusals'],
  ['/projects/:project/usage', usagePage, 'Usage'],
  ['/projects/:project/tokens', clientTokensPage, 'Tokens'],
  ['/cluster', clusterPage, 'Cluster'],
  ['/cluster/members', membersPage, 'Members'],
  ['/cluster/settings', settingsPage, 'Settings'],
  ['/cluster/doctor', doctorPage, 'Doctor'],
  ['/cluster/backup', backupPage, 'Backup'],
  ['/api', explorerPage, 'API'],
  ['/api/:operation', explorerPage, 'API'],
  ['/audit', auditPage, 'Audit log'],
  ['/tokens', tokensPage, 'Admin tokens'],
];

const app = document.getElementById('app');
let frame = null; // the shell, once somebody is signed in
let page = new AbortController(); // ends with the page that is shown
let shown = ''; // its hash

// match returns the values of a route's parameters, or null. A link may come from
// anybody: what it says in the place of an id must be one.
function match(pattern, place) {
  const want = pattern.split('/');
  const have = place.split('/');
  if (want.length !== have.length) return null;
  const params = {};
  for (let i = 0; i < want.length; i++) {
    if (want[i].startsWith(':')) params[want[i].slice(1)] = decodeURIComponent(have[i]);
    else if (want[i] !== have[i]) return null;
  }
  if (params.project !== undefined && !isID(params.project)) return null;
  return params;
}

function show() {
  if (!frame) return;
  shown = location.hash;
  const [place, search] = shown.slice(1).split('?');
  for (const [pattern, view, title] of routes) {
    const params = match(pattern, place);
    if (!params) continue;
    page.abort();
    page = new AbortController();
    document.title = `${title} · aptlyd`;
    fill(frame.main, view({ ...params, search: new URLSearchParams(search), signal: page.signal }));
    frame.arrived(place, title);
    return;
  }
  location.replace('#/projects');
}

// move shows another page, unless somebody wants to keep what is not saved on this one.
let asking = false;
async function move() {
  const wanted = location.hash;
  if (!frame || wanted === shown) return;
  if (unsaved().length > 0) {
    history.replaceState(null, '', shown || '#/projects');
    if (asking) return;
    asking = true;
    const leaves = await mayLeave();
    asking = false;
    if (leaves) location.hash = wanted;
    return;
  }
  show();
}

function askToSignIn(reason) {
  localStorage.removeItem('session');
  page.abort();
  frame?.leave();
  frame = null;
  document.title = 'Sign in · aptlyd';
  fill(app, signInPage(reason, enter));
}

async function enter() {
  Object.assign(session, await get('/whoami'));
  localStorage.setItem('session', 'yes');
  frame = shell(async () => {
    if (!await mayLeave()) return;
    await signOut();
    askToSignIn('');
  });
  fill(app, frame.node);
  show();
}

addEventListener('hashchange', move);
addEventListener('signedout', () => askToSignIn('Your session has ended. Sign in again.'));

// The page cannot see its own cookie. It asks the node only when a session may be
// there, so that opening the console is not a refused call.
async function resume() {
  try {
    await enter();
  } catch (error) {
    if (error.status === 401) return askToSignIn('');
    // The session may still be good: only the node cannot say so now.
    fill(app, h('div', { class: 'signin' }, h('div', { class: 'signin-box' },
      h('img', { src: 'icon.svg', alt: '', width: 40, height: 40 }), h('h1', {}, 'Waiting for the node'),
      h('p', { class: 'notice warn', role: 'status' }, error.message), h('p', { class: 'hint' }, 'You stay signed in. This page goes on by itself.'))));
    setTimeout(resume, 2000);
  }
}

if (!localStorage.getItem('session')) askToSignIn('');
else resume();
