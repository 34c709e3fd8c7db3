// The frame: which page, the bar, the rail, what is said when the service is away; and every click and key.

import * as deeds from './deeds.js';
import * as dialogs from './dialogs.js';
import { h, show } from './dom.js';
import { listen } from './keys.js';
import * as approvals from './pages/approvals.js';
import * as caseOf from './pages/case.js';
import * as cases from './pages/cases.js';
import * as domains from './pages/domains.js';
import * as events from './pages/events.js';
import * as host from './pages/host.js';
import * as overview from './pages/overview.js';
import * as policy from './pages/policy.js';
import * as service from './pages/service.js';
import { begin, changed, join, signOut, store, subscribe } from './store.js';
import { absolute, clock, clockAhead, length, now, tick } from './time.js';

const PAGES = {
  '': overview,
  host,
  events,
  cases,
  case: caseOf,
  event: { ...caseOf, render: (number) => caseOf.render(number, 'event') },
  domains,
  approvals,
  policy,
  service,
};
const RAIL = [
  ['', 'Overview', 'o'],
  ['approvals', 'Approvals', 'a'],
  ['events', 'Events', 'e'],
  ['cases', 'Cases', 'c'],
  ['host', 'Host', 'h'],
  ['domains', 'Domains', 'd'],
  ['policy', 'Policy', 'p'],
  ['service', 'Service', 's'],
];
const PARENTS = { case: 'cases', event: 'events' };

const main = document.getElementById('main');
let here = null;
let said = null;

function place() {
  const [name = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/');
  return PAGES[name] ? [name, rest.map(decodeURIComponent).join('/')] : ['', ''];
}

// --- drawing ----------------------------------------------------------------------------------------------------------

function draw() {
  show(document.getElementById('bar'), bar());
  show(document.getElementById('rail'), rail());
  show(document.getElementById('notice'), notice());
  if (store.signedOut)
    dialogs.login(
      store.loaded
        ? 'Your session has ended, or the service was started anew. What you see is from before.'
        : 'Show a token to see this host.',
    );
  dialogs.stillWaiting();
  if (!store.loaded) return;
  const [name, argument] = place();
  const page = PAGES[name];
  const at = `${name}/${argument}`;
  const moved = at !== here;
  if (moved) {
    main.replaceChildren();
    here = at;
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  show(main, page.render(argument));
  const sentence = overview.sentence();
  if (said !== null && sentence !== said) dialogs.say(`${sentence}.`);
  said = sentence;
  page.mounted?.(main, draw);
  if (moved) document.querySelector('.rail [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  document.title = titleOf(page.title(`${name}/${argument}`));
}

function titleOf(name) {
  const wrong = (store.status?.problems.length ?? 0) + (store.status?.halted ? 1 : 0);
  const waits = store.approvals.length;
  const first = store.link.state === 'lost' ? '✕ ' : wrong ? `■ ${wrong} ` : waits ? `▲ ${waits} ` : '';
  return `${first}${name} · Ringfence`;
}

const LINK = {
  live: ['live', 'Every event is shown as it happens'],
  joining: ['joining', 'Waiting for the stream of events'],
  lost: ['lost', 'The service is not heard'],
};

function bar() {
  const [word, means] = LINK[store.link.state];
  return [
    h('a.brand', { href: '#/', title: 'Overview (g o)' }, mark(), 'Ringfence'),
    h('span.grow.hostname', { title: 'Who serves this page' }, location.host),
    h('span.link', { 'data-state': store.link.state, title: means }, h('i', { 'aria-hidden': 'true' }), word),
    h('span.utc', { title: 'The time now, UTC' }, h('span', { 'data-clock': true }, clock(now())), ' UTC'),
    h(
      'button.icon',
      {
        type: 'button',
        'data-do': 'theme',
        title: `Theme: ${theme()} (t)`,
        'aria-label': `Theme: ${theme()}; change it`,
      },
      icon(theme()),
    ),
    h('button.icon', { type: 'button', 'data-do': 'help', title: 'Keys (?)', 'aria-label': 'Help: the keys' }, '?'),
    store.session?.csrf
      ? h(
          'button.icon',
          { type: 'button', 'data-do': 'leave', title: `Sign out (${store.session.who})`, 'aria-label': 'Sign out' },
          icon('leave'),
        )
      : null,
  ];
}

const mark = () =>
  h(
    'svg',
    { viewBox: '0 0 32 32', 'aria-hidden': 'true' },
    h('circle', {
      cx: 16,
      cy: 16,
      r: 11,
      fill: 'none',
      stroke: 'currentColor',
      'stroke-width': 3,
      'stroke-dasharray': '53.6 15.5',
    }),
    h('circle', { cx: 16, cy: 16, r: 3.5, fill: 'currentColor' }),
  );

const ICONS = {
  system: ['M12 3a9 9 0 1 0 0 18a9 9 0 0 0 0-18z', 'M12 3v18', 'M12 3a9 9 0 0 1 0 18z'],
  dark: ['M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.500 10.500z'],
  light: ['M12 8a4 4 0 1 0 0 8a4 4 0 0 0 0-8z', 'M12 2v3M12 19v3M2 12h3M19 12h3M5 5l2 2M17 17l2 2M19 5l-2 2M7 17l-2 2'],
  leave: ['M14 4H6v16h8', 'M10 12h11M17 8l4 4l-4 4'],
};

const icon = (name) =>
  h(
    'svg',
    {
      viewBox: '0 0 24 24',
      width: 18,
      height: 18,
      fill: 'none',
      stroke: 'currentColor',
      'stroke-width': 1.8,
      'stroke-linecap': 'round',
      'stroke-linejoin': 'round',
      'aria-hidden': 'true',
    },
    ICONS[name].map((path, at) =>
      h('path', { d: path, fill: name === 'system' && at === 2 ? 'currentColor' : 'none' }),
    ),
  );

function rail() {
  const [name] = place();
  const counts = {
    cases: [store.cases.filter((each) => each.open).length, 'open'],
    domains: [store.status?.domains ?? 0, 'have memory on this host'],
    approvals: [store.approvals.length, 'waiting'],
  };
  return h(
    'ul',
    RAIL.map(([page, label, letter]) => {
      const [count, of] = counts[page] ?? [0, ''];
      return h(
        'li',
        h(
          'a',
          { href: `#/${page}`, 'aria-current': (PARENTS[name] ?? name) === page ? 'page' : null, title: `g ${letter}` },
          label,
          count
            ? h('span.count', { class: page === 'approvals' ? 'due' : '', title: `${count} ${of}` }, String(count))
            : null,
        ),
      );
    }),
  );
}

function notice() {
  const { link } = store;
  if (store.signedOut) return null;
  if (link.state === 'lost') {
    return [
      'Disconnected since ',
      absolute(link.since),
      ' UTC (',
      h('span', { 'data-since': link.since - clockAhead() }, `${length(Date.now() - link.since)} ago`),
      '): what is shown is from before. ',
      link.because,
      ' ',
      h('button.button', { type: 'button', 'data-do': 'join' }, 'Try now'),
    ];
  }
  if (store.refused) return store.refused;
  const off = clockAhead();
  return off
    ? `This device’s clock is ${length(Math.abs(off))} ${off > 0 ? 'ahead of' : 'behind'} the host’s; times here go by the host’s.`
    : null;
}

// --- theme ------------------------------------------------------------------------------------------------------------

const theme = () => document.documentElement.dataset.theme ?? 'system';

function turnTheme() {
  const next = { system: 'dark', dark: 'light', light: 'system' }[theme()];
  if (next === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === 'system') localStorage.removeItem('ringfence.theme');
    else localStorage.setItem('ringfence.theme', next);
  } catch {
    /* storage is switched off: it holds until the page is left */
  }
  dialogs.say(`Theme: ${next}.`);
  draw();
}

// --- clicks, fields, keys ---------------------------------------------------------------------------------------------

const ACTIONS = {
  theme: turnTheme,
  help: dialogs.help,
  join,
  leave: signOut,
  row: (name) => dialogs.row(name),
  ...deeds.actions,
  ask: (key, node) => dialogs.ask(key, node.dataset.word),
  close: (_, node) => node.closest('dialog').close(),
};

document.addEventListener('click', (event) => {
  const node = event.target.closest('[data-do]');
  if (!node) return;
  event.preventDefault();
  const act = ACTIONS[node.dataset.do] ?? PAGES[place()[0]].actions?.[node.dataset.do];
  act?.(node.dataset.arg, node);
  if (!ACTIONS[node.dataset.do]) changed();
});

document.addEventListener('input', (event) => {
  const take = PAGES[place()[0]].inputs?.[event.target.dataset?.input];
  if (take) {
    take(event.target.value);
    changed();
  }
});

listen({
  list: () => PAGES[place()[0]].list?.() ?? null,
  back: () => {
    const done = PAGES[place()[0]].back?.();
    if (done) changed();
    return done;
  },
  help: dialogs.help,
  theme: turnTheme,
});

document.addEventListener('keydown', (event) => {
  // Enter on a row of a plain list does what its first link or button does.
  if (event.key === 'Enter' && event.target.matches?.('li[data-item]'))
    event.target.querySelector('a, button, summary')?.click();
  const pressed = event.key === 'Enter' && event.target.dataset?.enter;
  if (pressed) document.querySelector(`main [data-do="${pressed}"]`)?.click();
});

window.addEventListener('hashchange', draw);
setInterval(() => {
  if (document.hidden) return;
  tick();
  for (const node of document.querySelectorAll('[data-clock]')) node.textContent = clock(now());
  dialogs.stillWaiting();
}, 1000);

subscribe(draw);
begin().catch((error) => {
  if (error.status === 401 || error.status === 403) store.signedOut = true;
  else {
    show(
      main,
      h(
        'div.login.card',
        h('h1', 'The service is not heard'),
        h('p', error.detail ?? error.message),
        h('p.muted', error.advice ?? ''),
        h('div.buttons', h('button.button.main', { type: 'button', 'data-do': 'again' }, 'Try again')),
      ),
    );
    ACTIONS.again = () => location.reload();
  }
  changed();
});
