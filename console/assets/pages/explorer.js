// The HTTP API as openapi.yaml describes it, and calls of it from here.
import { h, fill, setText } from '../dom.js';
import { base, call, document as openapi } from '../api.js';
import { badge, busy, button, card, confirm, copyButton, empty, field, heading } from '../parts.js';
import { may } from '../session.js';

const deepest = 6; // levels of a schema that are shown
const titles = { realtime: 'For clients and backends', admin: 'For operators', console: 'Console', node: 'One node' };

// reader resolves references within the document.
function reader(doc) {
  const at = (node) => {
    while (node?.$ref) node = node.$ref.slice(2).split('/').reduce((found, name) => found?.[name.replaceAll('~1', '/')], doc);
    return node ?? {};
  };
  return { at, name: (node) => node?.$ref?.split('/').pop() ?? '' };
}

// operations lists what the document describes, in its order.
function operations({ paths }, { at }) {
  return Object.entries(paths).flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => ({
    path, method: method.toUpperCase(), id: operation.operationId, tag: operation.tags?.[0] ?? '', summary: operation.summary ?? '', operation,
    parameters: (operation.parameters ?? []).map(at),
    body: at(operation.requestBody).content?.['application/json']?.schema,
    role: operation['x-role'],
  })));
}

const typeOf = (schema) => [schema.type ?? (schema.anyOf ? 'one of several' : 'any')].flat().join(' or ')
  + (schema.format ? ` (${schema.format})` : '');

// limits says what else a schema asks for.
function limits(schema) {
  const said = [];
  if (schema.enum) said.push(`one of ${schema.enum.map((v) => JSON.stringify(v)).join(', ')}`);
  for (const [name, label] of [['minimum', 'from'], ['maximum', 'to'], ['minLength', 'at least', 'characters'], ['maxLength', 'at most'], ['maxItems', 'at most'], ['pattern', 'like'], ['default', 'default']]) {
    if (schema[name] !== undefined) said.push(`${label} ${schema[name]}`);
  }
  return said.join(', ');
}

// schemaView shows the fields of a schema as a nested list.
function schemaView(schema, read, depth = 0) {
  const resolved = read.at(schema);
  if (depth > deepest) return h('p', { class: 'hint' }, '…');
  if (resolved.anyOf) return h('ul', { class: 'schema' }, resolved.anyOf.map((option) => h('li', {}, h('span', { class: 'hint' }, typeOf(read.at(option)), ' ', limits(read.at(option))), schemaView(option, read, depth + 1))));
  if (resolved.items) return schemaView(resolved.items, read, depth + 1);
  const fields = Object.entries(resolved.properties ?? {});
  if (fields.length === 0) {
    const more = resolved.additionalProperties;
    return more && typeof more === 'object' ? h('ul', { class: 'schema' }, h('li', {}, h('code', {}, 'any name'), ' ', h('span', { class: 'hint' }, `${typeOf(read.at(more))} ${limits(read.at(read.at(more).items ?? {}))}`))) : null;
  }
  const required = resolved.required ?? [];
  return h('ul', { class: 'schema' }, fields.map(([name, child]) => {
    const at = read.at(child);
    return h('li', {}, h('code', {}, name), ' ', h('span', { class: 'hint' }, `${at.items ? `list of ${typeOf(read.at(at.items))}` : typeOf(at)}`), required.includes(name) ? [' ', badge('required', 'accent')] : null,
      at.description || limits(at) ? h('p', { class: 'hint' }, [at.description, limits(at)].filter(Boolean).join('. ')) : null,
      schemaView(child, read, depth + 1));
  }));
}

const samples = { channel: 'news', name: 'example', sub: 'user-17', overlap: '1h', pattern: 'chat:*', origin: 'https://app.example.com' };

// example makes a value that a schema would take: the required fields, or all where none is.
function example(schema, read, depth = 0, called = '') {
  const s = read.at(schema);
  if (depth > deepest) return null;
  if (s.default !== undefined) return s.default;
  if (s.enum) return s.enum[0];
  if (s.anyOf) return example(s.anyOf[0], read, depth + 1);
  switch ([s.type].flat()[0]) {
    case 'object': {
      const names = s.required?.length ? s.required : Object.keys(s.properties ?? {});
      const value = Object.fromEntries(names.map((name) => [name, example(s.properties?.[name] ?? {}, read, depth + 1, name)]));
      if (names.length === 0 && typeof s.additionalProperties === 'object') value.news = example(s.additionalProperties, read, depth + 1);
      return value;
    }
    case 'array': return [example(s.items ?? {}, read, depth + 1)];
    case 'integer': case 'number': return s.minimum ?? 1;
    case 'boolean': return true;
    case 'string': return samples[called] ?? '';
    default: return { text: 'hello' };
  }
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

// curl is the same call for a shell.
function curl({ method, url, headers, body }) {
  return [`curl${method === 'GET' ? '' : ` -X ${method}`} ${quoted(url)}`,
    ...Object.entries(headers).map(([name, value]) => `  -H ${value.includes('$') ? `"${name}: ${value}"` : quoted(`${name}: ${value}`)}`),
    ...(body ? [`  -d ${quoted(body)}`] : [])].join(' \\\n');
}

let apiKey = ''; // for calls of clients; it stays in this page

// tryCard makes the call, with the session of the console or with a key.
function tryCard(o, read) {
  const ofClients = o.tag === 'realtime';
  const allowed = !o.role || may(o.role);
  const streams = Object.values(o.operation.responses ?? {}).some((r) => read.at(r).content?.['text/event-stream']);
  const inputs = o.parameters.map((p) => {
    const input = h('input', { class: 'mono', autocomplete: 'off', spellcheck: false, placeholder: read.at(p.schema).default ?? '', oninput: () => change() });
    return { p, ...field(`${p.name}${p.required ? '' : ' (optional)'}`, input, { hint: [p.in === 'path' ? '' : `in the ${p.in}`, p.description ?? read.at(p.schema).description, limits(read.at(p.schema))].filter(Boolean).join('. ') }) };
  });
  const key = ofClients && field('API key or token', h('input', { class: 'mono', type: 'password', autocomplete: 'off', value: apiKey, oninput: () => { apiKey = key.input.value; change(); } }));
  const body = o.body && field('Body', h('textarea', { class: 'mono', rows: 8, spellcheck: false, value: JSON.stringify(example(o.body, read), null, 2), oninput: () => change() }));
  const line = h('pre', { class: 'code', tabIndex: 0 });
  const answer = h('div', { role: 'status' });

  function request(hidden) {
    let path = o.path;
    const query = new URLSearchParams();
    const headers = {};
    for (const { p, input } of inputs) {
      if (p.in === 'path') path = path.replace(`{${p.name}}`, encodeURIComponent(input.value || (hidden ? '' : p.name.toUpperCase())));
      else if (!input.value) continue;
      else if (p.in === 'query') query.append(p.name, input.value);
      else headers[p.name] = input.value;
    }
    if (ofClients) headers['x-api-key'] = hidden ? apiKey : '$APTLYD_KEY';
    else if (o.role && !hidden) headers.Authorization = 'Bearer $APTLYD_ADMIN_TOKEN';
    if (body) headers['Content-Type'] = 'application/json';
    return { method: o.method, url: base + path.slice(1) + (query.size ? `?${query}` : ''), headers, body: body ? body.input.value : undefined };
  }
  function change() { setText(line, curl(request(false))); }
  change();

  async function send() {
    fill(answer);
    const missing = inputs.filter(({ p, input }) => p.required && !input.value);
    inputs.forEach((i) => i.say(missing.includes(i) ? 'This is needed.' : ''));
    if (missing.length) return;
    if (o.method === 'DELETE' && !await confirm('Make this call?', { text: `${o.method} ${o.path}: ${o.summary}.`, action: 'Make the call', work: async () => {} })) return;
    const { status, text, type, ms } = await call(request(true));
    let shown = text;
    if (type.includes('json')) {
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* as it is */ }
    }
    fill(answer, h('div', { class: 'row' }, badge(String(status), status < 400 ? 'good' : 'bad'), h('span', { class: 'hint' }, `${Math.round(ms)} ms`)),
      shown && h('pre', { class: 'code', tabIndex: 0 }, shown.length > 100_000 ? shown.slice(0, 100_000) + '\n…' : shown));
  }
  const go = button('Make the call', () => busy(go, send), { kind: 'primary', disabled: !allowed || streams || o.id === 'getBackup' || o.tag === 'console' });
  return card('Try it', { hint: ofClients ? 'With a key or token of a project.' : o.role ? 'With your own session, and in your name.' : 'Without any credential.' },
    key?.node, inputs.length > 0 && h('div', { class: 'columns' }, inputs.map((i) => i.node)), body?.node,
    h('div', { class: 'row between' },
      h('span', { class: 'hint' }, !allowed ? `This takes the role ${o.role}.` : streams ? 'An endless answer: try it in a shell.' : ''), go),
    h('div', { class: 'row between' }, h('h3', {}, 'In a shell'), copyButton(() => line.textContent, 'Copy', 'the command')), line, answer);
}

function operationView(o, read) {
  const answers = Object.entries(o.operation.responses ?? {}).map(([status, response]) => {
    const r = read.at(response);
    const schema = r.content?.['application/json']?.schema;
    return h('div', { class: 'part' }, h('div', { class: 'row' }, badge(status, status[0] === '2' ? 'good' : ''), h('span', {}, r.description ?? '')), schema && schemaView(schema, read));
  });
  return h('div', { class: 'stack wide' },
    card(o.summary, { hint: h('span', {}, badge(o.method, o.method === 'GET' ? '' : 'accent'), ' ', h('code', {}, o.path), o.role ? ` · takes the role ${o.role}` : '') },
      o.operation.description && h('p', {}, o.operation.description),
      o.body && h('div', { class: 'part' }, h('h3', {}, 'Body'), schemaView(o.body, read)),
      h('div', { class: 'part' }, h('h3', {}, 'Answers'), answers)),
    tryCard(o, read));
}

export default function explorerPage({ operation, signal }) {
  const list = h('nav', { class: 'operations', 'aria-label': 'Calls' });
  const view = h('div', {});
  const filter = h('input', { type: 'search', placeholder: 'Find a call…', 'aria-label': 'Find a call', autocomplete: 'off', spellcheck: false });
  openapi(signal).then((doc) => {
    const read = reader(doc);
    const all = operations(doc, read);
    const groups = [...new Set(all.map((o) => o.tag))].map((tag) => h('div', { class: 'stack tight' }, h('h3', {}, titles[tag] ?? tag),
      h('ul', {}, all.filter((o) => o.tag === tag).map((o) => h('li', { data: { text: `${o.method} ${o.path} ${o.summary}`.toLowerCase() } },
        h('a', { href: `#/api/${o.id}`, 'aria-current': o.id === operation ? 'page' : null, title: `${o.method} ${o.path}` }, h('span', { class: `method ${o.method.toLowerCase()}` }, o.method), h('span', {}, o.summary)))))));
    fill(list, filter, groups);
    filter.addEventListener('input', () => {
      for (const group of groups) {
        const items = [...group.querySelectorAll('li')];
        for (const item of items) item.hidden = !item.dataset.text.includes(filter.value.toLowerCase());
        group.hidden = items.every((item) => item.hidden);
      }
    });
    const chosen = all.find((o) => o.id === operation);
    fill(view, chosen ? operationView(chosen, read) : card(`${doc.info.title} ${doc.info.version}`, {}, h('p', {}, doc.info.description),
      h('p', {}, 'The description for generators of clients: ', h('a', { href: `${base}openapi.yaml` }, 'openapi.yaml'), ' and ', h('a', { href: `${base}openapi.json` }, 'openapi.json'), ', as this node serves them.')));
  }, (error) => signal.aborted || fill(view, h('section', { class: 'card' }, empty('The description did not come', error.message))));
  return [heading('API', { hint: 'Every call that a node answers, described by the node itself.' }),
    h('div', { class: `split explorer ${operation ? 'chosen' : ''}` }, view, h('section', { class: 'card' }, h('div', { class: 'card-body' }, list)))];
}
