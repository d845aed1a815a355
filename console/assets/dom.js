// Building and updating the page. Whatever users chose goes in as text, never as
// HTML: nothing here parses markup.

const SVG = 'http://www.w3.org/2000/svg';

// h makes an element. Properties named on… are listeners, those with a dash and
// role are attributes, the others are set as properties. Children that are false
// or null are left out.
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'class') node.className = value;
    else if (name === 'data') Object.assign(node.dataset, value);
    else if (name.includes('-') || name === 'role' || name === 'for' || name === 'list') node.setAttribute(name, value);
    else node[name] = value;
  }
  add(node, children);
  return node;
}

// s makes an SVG element; all properties are attributes.
export function s(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

// fill replaces what a node contains.
export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
  return node;
}

// setText changes a text only where it differs, so that selections survive.
export function setText(node, text) {
  text = String(text);
  if (node.textContent !== text) node.textContent = text;
}

// keyed makes the children of parent follow a list. A row whose key is still
// there keeps its nodes, and with them focus and selection. make(item) returns
// {node, update(item)}.
export function keyed(parent, keyOf, make) {
  let rows = new Map();
  return (items) => {
    const keys = new Set(items.map(keyOf));
    // What is gone goes first: the rows that stay are then in place already, and
    // are not moved, which would cost them the focus.
    for (const [key, row] of rows) if (!keys.has(key)) row.node.remove();
    const next = new Map();
    let at = parent.firstChild;
    for (const item of items) {
      const key = keyOf(item);
      const row = rows.get(key) ?? make(item);
      row.update(item);
      next.set(key, row);
      if (row.node === at) at = at.nextSibling;
      else parent.insertBefore(row.node, at);
    }
    rows = next;
  };
}
