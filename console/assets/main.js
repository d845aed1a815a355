// The console: signs in, then shows the page that the address names.
import { fill } from './dom.js';
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
  ['/cluster', clusterPage, 'Cluster'],
  ['/audit', auditPage, 'Audit log'],
  ['/tokens', tokensPage, 'Admin tokens'],
];

const app = document.getElementById('app');
let frame = null; // the shell, once somebody is signed in
let page = new AbortController(); // ends with the page that is shown

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
  const [place, search] = location.hash.slice(1).split('?');
  for (const [pattern, view, title] of routes) {
    const params = match(pattern, place);
    if (!params) continue;
    page.abort();
    page = new AbortController();
    document.title = `${title} · aptlyd`;
    fill(frame.main, view({ ...params, search: new URLSearchParams(search), signal: page.signal }));
    frame.arrived(place);
    return;
  }
  location.replace('#/projects');
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
    await signOut();
    askToSignIn('');
  });
  fill(app, frame.node);
  show();
}

addEventListener('hashchange', show);
addEventListener('signedout', () => askToSignIn('Your session has ended. Sign in again.'));

// The page cannot see its own cookie. It asks the node only when a session may be
// there, so that opening the console is not a refused call.
if (!localStorage.getItem('session')) askToSignIn('');
else enter().catch((error) => askToSignIn(error.status === 401 ? '' : error.message));
