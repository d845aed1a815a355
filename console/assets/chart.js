// Line charts of the last hour, drawn by uPlot, which is fetched when the first
// one is shown.
import { h, setText } from './dom.js';

let loading;

function load() {
  loading ??= Promise.all([
    new Promise((resolve, reject) => {
      document.head.append(h('script', { src: 'lib/uplot.js', onload: resolve, onerror: () => reject(new Error('The charts could not be loaded.')) }));
    }),
    new Promise((resolve) => { document.head.append(h('link', { rel: 'stylesheet', href: 'lib/uplot.css', onload: resolve, onerror: resolve })); }),
  ]);
  return loading;
}

const height = 150;

// paint resolves a colour of the style sheet, which may be a light-dark() pair,
// to one that a canvas takes.
function paint(name) {
  const probe = h('i', {});
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

// chart shows some series over the same times. series are [name, label, colour];
// format writes a value. update takes the answer of /metrics/history.
export function chart(title, series, format, signal) {
  const now = h('span', { class: 'chart-now' });
  const box = h('div', { class: 'chart-box' });
  const node = h('figure', { class: 'chart' }, h('figcaption', {}, h('span', {}, title), now), box);
  let plot;
  let data;

  function build() {
    plot?.destroy();
    const axis = { stroke: paint('--quiet'), grid: { stroke: paint('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
    plot = new globalThis.uPlot({
      width: box.clientWidth, height, legend: { show: false }, padding: [8, 18, 0, 0],
      cursor: { sync: { key: 'history' }, y: false, points: { size: 6 } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.15 : 1] } },
      axes: [{ ...axis, space: 70, size: 28, values: (_, times) => times.map((t) => new Date(t * 1000).toTimeString().slice(0, 5)) },
        { ...axis, size: 56, space: 34, values: (_, values) => values.map(format) }],
      series: [{}, ...series.map(([, , tone]) => ({ stroke: paint(tone), width: 1.75, fill: series.length === 1 ? paint('--chart-fill') : undefined, points: { show: false } }))],
      hooks: { setCursor: [(u) => say(u.cursor.idx)] },
    }, data, box);
  }

  // say writes the values at the cursor, or the newest ones.
  function say(at) {
    const pointed = at !== null && at !== undefined;
    const index = pointed ? at : data[0].length - 1;
    const texts = series.map(([, label], i) => {
      const value = data[i + 1][index];
      return `${label ? label + ' ' : ''}${value === null || value === undefined ? '–' : format(value)}`;
    });
    setText(now, (pointed ? new Date(data[0][index] * 1000).toTimeString().slice(0, 8) + '  ' : '') + texts.join('  '));
  }

  const resize = new ResizeObserver(() => plot?.setSize({ width: box.clientWidth, height }));
  resize.observe(box);
  addEventListener('themed', () => plot && build(), { signal });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => plot && build(), { signal });
  signal.addEventListener('abort', () => { resize.disconnect(); plot?.destroy(); });

  return {
    node,
    async update(history) {
      await load();
      if (signal.aborted) return;
      const steps = history.series[series[0][0]].length;
      data = [Array.from({ length: steps }, (_, i) => history.from / 1000 + i * history.stepSeconds), ...series.map(([name]) => history.series[name])];
      if (plot) plot.setData(data);
      else build();
      say(plot.cursor.idx);
    },
  };
}
