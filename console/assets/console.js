// The console's one page: sign in with the admin token, then the cluster and its
// projects, renewed every two seconds. The token lives in this variable only.
let token = '';
let timer;

const $ = (id) => document.getElementById(id);

// el makes an element; everything that users chose goes in as text, never as HTML.
function el(name, content, className) {
  const e = document.createElement(name);
  if (Array.isArray(content)) e.append(...content);
  else e.textContent = content;
  if (className) e.className = className;
  return e;
}

async function call(path) {
  const response = await fetch('/admin/v1' + path, { headers: { Authorization: 'Bearer ' + token } });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error);
  return body;
}

function showMembers(status) {
  $('where').textContent = `on ${status.node}, ${status.leader ? 'leader ' + status.leader : 'no leader'}, term ${status.term}`;
  $('members').tBodies[0].replaceChildren(...status.members.map((m) => el('tr', [
    el('td', m.name),
    el('td', m.state, m.state === 'alive' ? '' : 'bad'),
    el('td', m.leader ? 'leader' : m.voter ? 'voter' : 'non-voter'),
    el('td', m.appliedIndex),
    el('td', m.connections),
    el('td', m.version),
  ])));
}

function showProjects(projects) {
  $('projects').replaceChildren(...projects.map((p) => el('article', [
    el('h3', p.name),
    el('p', ['Origins: ', el('code', p.allowedOrigins.join(' ') || 'none'), p.allowNativeClients ? ' and native clients' : ''], 'hint'),
    ...p.keys.map((k) => el('p', [`${k.kind} key ${k.name ? `“${k.name}” ` : ''}`, el('code', k.key ?? k.prefix + '…')])),
  ])));
}

async function refresh() {
  const [status, list] = await Promise.all([call('/status'), call('/projects')]);
  showMembers(status);
  showProjects(list.projects);
}

function leave(reason) {
  clearInterval(timer);
  token = '';
  $('inside').hidden = $('leave').hidden = true;
  $('enter').hidden = false;
  $('refused').textContent = reason;
  $('where').textContent = '';
  $('token').focus();
}

$('enter').addEventListener('submit', async (event) => {
  event.preventDefault();
  token = $('token').value;
  try {
    await refresh();
  } catch (error) {
    leave(error.message);
    return;
  }
  $('token').value = '';
  $('enter').hidden = true;
  $('inside').hidden = $('leave').hidden = false;
  timer = setInterval(() => refresh().catch((error) => { $('where').textContent = error.message; }), 2000);
});

$('leave').addEventListener('click', () => leave(''));
