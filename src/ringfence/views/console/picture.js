// The machine as a picture: sockets with their CPUs, channels and modules with their errors as a heat map; domains. Every
// number says in its title what it counts.

import { h } from './dom.js';
import { mebibytes } from './pieces.js';
import { store } from './store.js';
import { domainStateOf, markOf, plural, stageOf } from './words.js';

const TILES_SHOWN = 60;

const HEAT = [
  [0, 'none'],
  [1, '1 or 2'],
  [2, '3 to 9'],
  [3, '10 and more'],
  [4, 'judged bad'],
];

const ENDED = new Set(['repaired', 'replaced', 'acquitted']);
export const isJudged = (part) => part.stage !== '' && !ENDED.has(part.stage);

/** How hot a part is: by its corrected errors of the last day, and hottest when it was judged bad. */
function heat(part) {
  if (isJudged(part)) return 4;
  return part.errors_day === 0 ? 0 : part.errors_day < 3 ? 1 : part.errors_day < 10 ? 2 : 3;
}

// --- the machine, as far as evidence has named it ---------------------------------------------------------------------

const byNumber = (a, b) => (a ?? Infinity) - (b ?? Infinity);

/** Sockets with their cores, and channels with their modules, from a flat list of parts. */
function machine(host) {
  const sockets = new Map();
  const socket = (number) => {
    if (!sockets.has(number)) sockets.set(number, { socket: number, cores: [], others: [], channels: new Map() });
    return sockets.get(number);
  };
  for (const dimm of host.dimms) {
    const { channels } = socket(dimm.socket);
    const key = `${dimm.controller} ${dimm.channel}`;
    if (!channels.has(key)) channels.set(key, { controller: dimm.controller, channel: dimm.channel, dimms: [] });
    channels.get(key).dimms.push(dimm);
  }
  for (const core of host.cores) socket(core.socket).cores.push(core);
  for (const part of host.others) if (part.kind !== 'socket') socket(part.socket).others.push(part);
  const out = new Set(host.cpus.filter((cpu) => cpu.out_of_use).map((cpu) => `CPU ${cpu.cpu}`));
  const shown = new Set(host.cores.map((core) => core.name));
  for (const cpu of host.cpus)
    if (!shown.has(`CPU ${cpu.cpu}`))
      socket(null).cores.push({
        kind: 'core',
        name: `CPU ${cpu.cpu}`,
        errors: 0,
        errors_day: 0,
        distinct: 0,
        stage: '',
      });
  return [...sockets.values()]
    .sort((a, b) => byNumber(a.socket, b.socket))
    .map((each) => ({
      ...each,
      cores: each.cores
        .map((core) => ({ ...core, out: out.has(core.name) }))
        .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true })),
      channels: [...each.channels.values()].sort(
        (a, b) => byNumber(a.controller, b.controller) || byNumber(a.channel, b.channel),
      ),
    }));
}

/** Sockets, channels, DIMMs and domains; `small` shows a module as one cell. */
export function picture({ small = false, chosen = null } = {}) {
  if (!store.host) return h('p.muted', 'Asking the service …');
  const sockets = machine(store.host);
  return [
    sockets.length
      ? [
          h(
            'div.sockets',
            sockets.map((each) => (small ? glance(each) : socket(each, chosen))),
          ),
          legend(),
        ]
      : h(
          'p.empty',
          'No part of the machine has erred, and its firmware names no module: parts are drawn as evidence names them.',
        ),
    store.host.parts_beyond
      ? h('p.small.muted', `and ${plural(store.host.parts_beyond, 'part')} that erred longer ago`)
      : null,
    h('h2.gap', 'Domains'),
    tiles(),
  ];
}

const memoryErrors = (each) =>
  each.channels.flatMap((channel) => channel.dimms).reduce((sum, dimm) => sum + dimm.errors_day, 0);
const socketName = (each) => (each.socket === null ? 'Socket not told' : `Socket ${each.socket}`);

/** A socket at a glance: a cell a module, a column a channel; its CPUs in one line. */
function glance(each) {
  const out = each.cores.filter((one) => one.out).length;
  return h(
    'section.socket.glance',
    { 'data-key': `socket ${each.socket}` },
    h(
      'header',
      h('h3', socketName(each)),
      h(
        'span.small.muted',
        { title: 'Corrected errors of its memory in the last 24 hours; CPUs that erred or are out of use' },
        `${plural(memoryErrors(each), 'memory error')}${each.cores.length ? `; ${plural(each.cores.length, 'CPU')} erring` : ''}${out ? `, ${out} out of use` : ''}`,
      ),
    ),
    h(
      'div.cells',
      each.channels.map((channel) =>
        h(
          'div',
          { class: channel.channel === null ? 'loose' : '', 'data-key': `${channel.controller} ${channel.channel}` },
          channel.dimms.map(cell),
        ),
      ),
    ),
  );
}

function cell(dimm) {
  const words = inWords(dimm);
  return h(
    `button.cell.heat-${heat(dimm)}`,
    {
      type: 'button',
      'data-do': 'dimm',
      'data-arg': dimm.name,
      'data-key': dimm.name,
      title: words,
      'aria-label': words,
    },
    isJudged(dimm) ? `${markOf('bad')} ` : '',
    dimm.errors_day ? few(dimm.errors_day) : '·',
  );
}

/** "143", "12k". */
const few = (count) =>
  count < 1000
    ? String(count)
    : count < 1_000_000
      ? `${Math.floor(count / 1000)}k`
      : `${Math.floor(count / 1_000_000)}M`;

function socket(each, chosen) {
  return h(
    'section.socket',
    { 'data-key': `socket ${each.socket}` },
    h(
      'header',
      h('h3', socketName(each)),
      h(
        'span.small.muted',
        { title: 'Corrected errors of its memory in the last 24 hours' },
        plural(memoryErrors(each), 'memory error'),
      ),
    ),
    each.cores.length || each.others.length
      ? h(
          'div.cpus',
          { role: 'list', 'aria-label': `CPUs and caches that erred, ${socketName(each)}` },
          each.cores.map(cpu),
          each.others.map(cpu),
        )
      : null,
    h(
      'div.channels',
      each.channels.map((channel) =>
        h(
          'div.channel',
          { class: channel.channel === null ? 'loose' : '', 'data-key': `${channel.controller} ${channel.channel}` },
          h(
            'div.name',
            channel.channel === null
              ? 'channel not told'
              : `${channel.controller !== null ? `controller ${channel.controller} ` : ''}channel ${channel.channel}`,
          ),
          channel.dimms.map((dimm) => module_(dimm, chosen)),
        ),
      ),
    ),
  );
}

function cpu(each) {
  const words = `${each.name}: ${inNumbers(each)}${each.out ? '; out of use' : ''}${judgedAs(each) ? `; ${judgedAs(each)}` : ''}`;
  return h(
    each.out ? 'span.cpu.out' : `span.cpu.heat-${heat(each)}`,
    { role: 'listitem', title: words, 'aria-label': words, 'data-key': each.name },
    each.name,
    each.errors_day ? ` · ${few(each.errors_day)}` : '',
    each.out ? ' out' : '',
  );
}

const judgedAs = (part) => (isJudged(part) ? stageOf(part.stage).label : '');

const inNumbers = (part) =>
  `${plural(part.errors_day, 'corrected error')} in the last 24 hours, ${part.errors.toLocaleString('en')} remembered`;

function inWords(dimm) {
  const found = ranksOf(dimm);
  const most = Math.max(dimm.distinct, ...found.map((rank) => rank.distinct));
  return `${dimm.name}: ${inNumbers(dimm)}; ${plural(most, 'distinct syndrome')}${judgedAs(dimm) ? `; ${judgedAs(dimm)}` : ''}`;
}

export const ranksOf = (dimm) => store.host.ranks.filter((rank) => rank.name.startsWith(`${dimm.name} `));

function module_(dimm, chosen) {
  const words = inWords(dimm);
  return h(
    `button.dimm.heat-${heat(dimm)}`,
    {
      type: 'button',
      'data-do': 'dimm',
      'data-arg': dimm.name,
      'data-key': dimm.name,
      'data-item': true,
      title: words,
      'aria-label': words,
      'aria-pressed': String(chosen === dimm.name),
    },
    h('span.label', short(dimm)),
    h('span.much', dimm.errors_day ? `${dimm.errors_day.toLocaleString('en')} CE` : '—'),
    dimm.distinct ? h('span.small', plural(dimm.distinct, 'syndrome')) : null,
    isJudged(dimm) ? h('span.bad', `${markOf(stageOf(dimm.stage).tone)} ${judgedAs(dimm)}`) : null,
  );
}

/** "socket 0 channel 1 slot 0" within its socket and channel: "slot 0"; a label of the board's maker as it is. */
const short = (dimm) =>
  /^(socket|controller|channel) \d/.test(dimm.name)
    ? dimm.slot === null || dimm.slot === undefined
      ? 'module'
      : `slot ${dimm.slot}`
    : dimm.name;

function legend() {
  return h(
    'div.legend',
    { 'aria-label': 'What the colours mean' },
    h('span', 'corrected errors (CE) in the last 24 hours:'),
    HEAT.map(([level, words]) => h('span', h('i', { class: `heat-${level}`, 'aria-hidden': 'true' }), words)),
    h(
      'span',
      { title: 'CPUs and caches are drawn as evidence names them; modules too, where the firmware does not (SMBIOS)' },
      '· CPUs are drawn when they erred',
    ),
  );
}

/** Where a domain still has something here: what left or ended is told by the cases, and by the list of domains. */
const STAYS = new Set(['running', 'paused', 'saved']);

function tiles() {
  const domains = store.domains.filter((line) => STAYS.has(line.state) || line.cases.length);
  const gone = store.domains.length - domains.length;
  // Those in trouble first: with a thousand domains they must not be the ones that are left off.
  const weight = (line) => (line.cases.length ? 0 : line.state !== 'running' ? 1 : 2);
  const sorted =
    domains.length > TILES_SHOWN ? [...domains].sort((a, b) => weight(a) - weight(b) || a.domain - b.domain) : domains;
  const more = Math.max(0, sorted.length - TILES_SHOWN);
  const rest = [
    more ? `${more.toLocaleString('en')} more` : '',
    gone ? `${gone.toLocaleString('en')} that left or ended` : '',
  ]
    .filter(Boolean)
    .join(', ');
  return h(
    'div.tiles',
    sorted.slice(0, TILES_SHOWN).map((line) => {
      const { label, tone } = domainStateOf(line.state);
      const words = `${line.name}, domain ${line.domain}, ${line.kind}, ${mebibytes(line.memory_mib)}: ${label}${line.cases.length ? `; ${plural(line.cases.length, 'open case')}` : ''}`;
      const troubled = line.cases.length ? 'warn' : tone === 'good' ? '' : tone;
      return h(
        'a.tile',
        {
          class: troubled,
          href: line.cases.length ? `#/case/${line.cases[0]}` : '#/domains',
          title: words,
          'aria-label': words,
          'data-key': line.domain,
          'data-item': true,
        },
        troubled ? h('span.mark', { 'aria-hidden': 'true' }, `${markOf(troubled)} `) : null,
        line.name,
        line.state === 'running' ? null : h('span.small', ` ${label}`),
      );
    }),
    rest ? h('a.tile.calm', { href: '#/domains', 'data-key': 'rest' }, `and ${rest}`) : null,
  );
}
