// Numbers, sizes and times as people read them.

const whole = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });

export const count = (n) => whole.format(n);
export const compact = (n) => short.format(n);
export const plural = (n, one, many = one + 's') => `${count(n)} ${n === 1 ? one : many}`;

export function rate(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return '–';
  return n > 0 && n < 10 ? n.toFixed(1) : n < 10_000 ? count(n) : compact(n);
}

export function bytes(n) {
  if (!n) return n === 0 ? '0 B' : '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = Math.max(0, Math.min(units.length - 1, Math.floor(Math.log2(n) / 10)));
  const value = n / 1024 ** step;
  return `${value < 10 && step > 0 ? value.toFixed(1) : Math.round(value)} ${units[step]}`;
}

export function millis(n) {
  if (n === null || n === undefined) return '–';
  return n < 10 ? `${n.toFixed(2)} ms` : n < 1000 ? `${Math.round(n)} ms` : `${(n / 1000).toFixed(1)} s`;
}

// inStep says how far a node is behind. What nodes tell of themselves is up to half a
// second old, so a few entries mean nothing.
export const inStep = (behind) => (behind <= 5 ? 'in step' : `${count(behind)} behind`);

// span is a length of time in ms in its largest one or two units.
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  const days = Math.floor(hours / 24);
  return hours % 24 && days < 7 ? `${days} d ${hours % 24} h` : `${days} d`;
}

export function ago(at, now = Date.now()) {
  if (!at) return 'never';
  return now - at < 5000 ? 'just now' : span(now - at) + ' ago';
}

const pad = (n, width = 2) => String(n).padStart(width, '0');

export function clock(at) {
  const d = new Date(at);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}.${pad(d.getMilliseconds(), 3)}`;
}

// minute, hour and day name periods of usage; those of a day are of UTC.
export function minute(at) {
  const d = new Date(at);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}`;
}

export function hour(at) {
  const d = new Date(at);
  return `${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}`;
}

export const day = (at) => new Date(at).toISOString().slice(0, 10);

export function moment(at) {
  if (!at) return '–';
  const d = new Date(at);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}
