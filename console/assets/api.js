// Calls of the admin API. The browser sends the session cookie by itself; the
// header tells the node that the call comes from this page.

export class ApiError extends Error {
  constructor(status, code, message, retryAfter) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

async function request(method, url, body, signal) {
  const headers = { 'X-Aptlyd-Console': '1' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(0, 'unreachable', 'This node does not answer.');
  }
  const text = await response.text();
  let answer = null;
  try {
    if (text) answer = JSON.parse(text);
  } catch {
    throw new ApiError(response.status, 'internal', `The node answered ${response.status} with something that is not JSON.`);
  }
  if (!response.ok) {
    const error = new ApiError(response.status, answer?.code ?? 'internal', answer?.error ?? response.statusText,
      Number(response.headers.get('Retry-After') ?? 0));
    if (response.status === 401 && url !== '/console/session') dispatchEvent(new CustomEvent('signedout', { detail: error }));
    throw error;
  }
  return answer;
}

const admin = (path) => '/admin/v1' + path;

export const get = (path, signal) => request('GET', admin(path), undefined, signal);
export const post = (path, body, signal) => request('POST', admin(path), body, signal);
export const patch = (path, body) => request('PATCH', admin(path), body);
export const del = (path) => request('DELETE', admin(path));

export const signIn = (token) => request('POST', '/console/session', { token });
export const signOut = () => request('DELETE', '/console/session');

// path joins segments, each escaped.
export const path = (...segments) => '/' + segments.map(encodeURIComponent).join('/');

// query adds what is not empty to a path.
export function query(path, values) {
  const kept = Object.entries(values).filter(([, value]) => value !== '' && value !== undefined && value !== null);
  return kept.length ? path + '?' + new URLSearchParams(kept) : path;
}

// all reads every page of a list, up to most items.
export async function all(path, name, most = 1000, signal) {
  const items = [];
  let cursor = '';
  do {
    const page = await get(query(path, { limit: Math.min(1000, most), cursor }), signal);
    items.push(...page[name]);
    cursor = page.next;
  } while (cursor && items.length < most);
  return items;
}
