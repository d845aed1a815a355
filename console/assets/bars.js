// Bars over time, for counts of minutes, hours or days. They stretch to their box.
import { fill, h, s, setText } from './dom.js';

const height = 40;

// bars returns a picture of values, and what puts others into it. say returns the text of one
// bar, which is shown while it is pointed at.
export function bars(label, { tall = height, say = String } = {}) {
  const node = s('svg', { class: 'bars', role: 'img', 'aria-label': label, preserveAspectRatio: 'none', height: tall });
  return {
    node,
    update(values) {
      const most = Math.max(...values, 1);
      node.setAttribute('viewBox', `0 0 ${values.length * 4} ${tall}`);
      node.setAttribute('aria-label', `${label}, at most ${say(Math.max(...values, 0), values.indexOf(Math.max(...values)))}`);
      fill(node, values.map((value, i) => {
        const size = value > 0 ? Math.max(2, (value / most) * (tall - 2)) : 1;
        return s('rect', { x: i * 4 + 0.5, y: tall - size, width: 3, height: size, class: value > 0 ? '' : 'none' }, s('title', {}, say(value, i)));
      }));
    },
  };
}

// tile is a figure with a line below and bars of how it came to be.
export function tile(label) {
  const value = h('strong', {}, '–');
  const hint = h('p', { class: 'hint' }, ' ');
  const picture = bars(label);
  return {
    node: h('div', { class: 'tile' }, h('span', { class: 'label' }, label), value, hint, picture.node),
    update(text, below, values) {
      setText(value, text);
      setText(hint, below);
      picture.update(values);
    },
  };
}
