// The keyboard. Keys do nothing while somebody writes; a dialog has its own (Esc closes it, as the browser has it).

const GO_MS = 1_200; // after g, so long for the letter

export const GO = {
  o: ['', 'overview'],
  h: ['host', 'host'],
  e: ['events', 'events'],
  c: ['cases', 'cases'],
  d: ['domains', 'domains'],
  a: ['approvals', 'approvals'],
  p: ['policy', 'policy'],
  s: ['service', 'service'],
};

export const KEYS = [
  ['j', 'next in the list'],
  ['k', 'the one before'],
  ['Enter', 'open it'],
  ['Esc', 'close, or back'],
  ['/', 'search'],
  ...Object.entries(GO).map(([letter, [, name]]) => [`g ${letter}`, name]),
  ['t', 'theme: system, dark, light'],
  ['?', 'this help'],
];

const writes = (node) => node.matches?.('input, textarea, select, [contenteditable]');

/** Listen. `list()` gives the page's long list or null; `back`, `help` and `theme` do what their keys say. */
export function listen({ list, back, help, theme }) {
  let going = 0;
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector('dialog[open]')) return;
    if (writes(event.target)) {
      if (event.key === 'Escape') event.target.blur();
      return;
    }
    const wasGoing = performance.now() - going < GO_MS;
    going = 0;
    if (wasGoing && GO[event.key]) {
      location.hash = `#/${GO[event.key][0]}`;
      event.preventDefault();
      return;
    }
    const done = {
      g: () => {
        going = performance.now();
      },
      j: () => step(list(), 1),
      ArrowDown: () => list()?.node === event.target && step(list(), 1),
      k: () => step(list(), -1),
      ArrowUp: () => list()?.node === event.target && step(list(), -1),
      Enter: () => list()?.node === event.target && (list().enter(), true),
      '/': () => {
        const field = document.querySelector('main [data-search]');
        field?.focus();
        field?.select();
      },
      '?': help,
      t: theme,
      Escape: back,
    }[event.key];
    if (done && done() !== false) {
      if (event.key !== 'Enter' || list()?.node === event.target) event.preventDefault();
    }
  });
}

function step(list, by) {
  if (list) {
    list.move(by);
    return;
  }
  const items = [...document.querySelectorAll('main [data-item]')].filter((node) => node.offsetParent !== null);
  if (!items.length) return;
  const at = items.indexOf(document.activeElement.closest?.('[data-item]'));
  const next = items[at < 0 ? 0 : Math.min(items.length - 1, Math.max(0, at + by))];
  next.focus();
  next.scrollIntoView({ block: 'nearest' });
}
