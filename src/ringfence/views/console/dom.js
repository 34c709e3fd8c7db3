// Elements from values. Text is always text: names of domains, journal lines and guests' words are hostile, so nothing
// here or elsewhere in the console parses markup (a test looks for it).

const SVG = new Set(['svg', 'path', 'circle', 'rect', 'line', 'g', 'title']);

/** An element: `h('p.note', {title: '…'}, 'text', h('b', 'more'))`. Null, undefined and false children are left out. */
export function h(what, ...rest) {
  const [tag, ...classes] = what.split('.');
  const node =
    SVG.has(tag) && tag !== 'title'
      ? document.createElementNS('http://www.w3.org/2000/svg', tag)
      : document.createElement(tag || 'div');
  if (classes.length) node.setAttribute('class', classes.join(' '));
  const [first] = rest;
  if (first && typeof first === 'object' && !(first instanceof Node) && !Array.isArray(first)) {
    attributes(node, first);
    rest = rest.slice(1);
  }
  append(node, rest);
  return node;
}

function attributes(node, given) {
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on') || name === 'style') throw new Error(`not an attribute for here: ${name}`);
    if (name === 'href' && !String(value).startsWith('#')) throw new Error('links lead to the console itself');
    if (name === 'class') node.setAttribute('class', `${node.getAttribute('class') ?? ''} ${value}`.trim());
    else node.setAttribute(name, value === true ? '' : String(value));
  }
}

function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child instanceof Node) node.append(child);
    else if (child !== null && child !== undefined && child !== false && child !== '') node.append(String(child));
  }
}

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute('data-key') : null);
const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

/**
 * Make `old` what `fresh` is, with as few changes as can be: what stays keeps its focus, its scroll position, and (of
 * details, dialogs and fields) what the reader has done to it. Elements with `data-own` are left as they are.
 */
function morph(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE || old.hasAttribute('data-own')) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !readers(old, name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !readers(old, name)) old.setAttribute(name, value);
  }
  morphChildren(old, fresh);
}

const readers = (node, name) =>
  (name === 'open' && (node.nodeName === 'DETAILS' || node.nodeName === 'DIALOG')) ||
  (name === 'value' && node.nodeName === 'INPUT') ||
  name === 'style';

/** Make the children of `old` those of `fresh`. */
export function morphChildren(old, fresh) {
  const wanted = new Set([...fresh.childNodes].map(keyOf).filter((key) => key !== null));
  const keyed = new Map();
  for (const child of [...old.childNodes]) {
    const key = keyOf(child);
    if (key === null) continue;
    if (wanted.has(key)) keyed.set(key, child);
    else child.remove();
  }
  let at = old.firstChild;
  for (const want of [...fresh.childNodes]) {
    const key = keyOf(want);
    const match = key === null ? at : keyed.get(key);
    if (match && alike(match, want)) {
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      morph(match, want);
    } else old.insertBefore(want, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Show `children` in `place`, by morphing. */
export function show(place, ...children) {
  const fresh = place.cloneNode(false);
  append(fresh, children);
  morphChildren(place, fresh);
}
