// Words for what the service names by a short word. Every part state, severity and operation has an entry (a test holds
// the tables against the decision's own enumerations). A tone is never shown without its words.

const state = (tone, label, meaning) => ({ tone, label, meaning });

/** Where a part of a case stands (docs/reference/flow.md). Tones: good, work, warn, bad, calm. */
export const STATES = {
  noting: state('work', 'noting', 'Dom0 is being notified for its statistics.'),
  healing: state('work', 'healing', 'The host takes the broken part out of use.'),
  taking_out: state('work', 'taking page out', 'A page that nobody uses is being taken out of use.'),
  degrading: state('work', 'degrading', 'The host is being closed to new guests.'),
  saving_evidence: state('bad', 'saving evidence', 'The host will halt; Dom0 has a bounded time to save the evidence.'),
  speaking: state('bad', 'last words', 'The last words go out to every sink that works, then the host halts.'),
  halting: state('bad', 'halting', 'The host is being halted.'),
  halting_again: state('bad', 'halting again', 'The host did not stop at first; it is halted once more.'),
  containing: state(
    'work',
    'containing',
    'The lost page is being isolated from the domain; a domain that consumed the error is stopped.',
  ),
  holding: state('warn', 'holding', 'A mapping of the lost page could not be removed, so the domain must not run.'),
  asking: state('work', 'asking Dom0', 'Dom0 is asked what shall become of the domain, until a deadline.'),
  telling: state('work', 'telling guest', 'The guest’s MCA handler is being told which pages are lost.'),
  awaiting_guest: state('work', 'awaiting guest', 'The guest knows, and has a bounded time to heal itself.'),
  injecting: state('work', 'injecting vMCE', 'A virtual machine check is being put into the guest’s banks.'),
  awaiting_mcip: state('work', 'awaiting MCIP', 'The guest is still in an earlier machine check; the vMCE waits.'),
  injecting_again: state('work', 'injecting again', 'The vMCE is tried once more.'),
  requesting: state('work', 'asking to operate', 'Dom0 is asked to operate on the domain, until a deadline.'),
  operating: state('work', 'operating', 'Dom0 operates on the domain.'),
  informing: state('work', 'informing', 'The guest is being told, for its information.'),
  killing: state('bad', 'killing', 'The domain is being killed: nothing milder is left.'),
  approving: state('warn', 'waits for approval', 'A person must grant or deny the operation, until a deadline.'),
  carrying_out: state('work', 'carrying out', 'An operation of Dom0’s own is being carried out.'),
  counted: state('calm', 'counted', 'A corrected error was counted and logged; nothing else was needed.'),
  healed: state('good', 'healed', 'The broken part is out of use and the host goes on.'),
  taken_out: state('good', 'page out of use', 'The page is out of use; nobody lost anything.'),
  degraded: state('warn', 'degraded', 'The error could not be located: no new guest starts on this host.'),
  halted: state('bad', 'halted', 'The machine was halted, after its last words.'),
  not_halted: state('bad', 'NOT halted', 'The machine should have been halted and cannot be stopped from here.'),
  guest_healed: state('good', 'healed itself', 'The guest was told which pages are lost, and healed itself.'),
  injected: state(
    'good',
    'vMCE injected',
    'The guest has a virtual machine check in its banks, and handles it by itself.',
  ),
  operated: state('good', 'done', 'What was decided was carried out.'),
  not_operated: state('warn', 'not operated', 'No operation was done: none was approved, or none succeeded.'),
  killed: state('bad', 'killed', 'The domain was killed; what it had in memory is lost.'),
  stuck: state('bad', 'stuck', 'The domain could not be treated and does not run: a person must look.'),
  gone: state('calm', 'gone', 'The domain had ended by itself before anything was to be done.'),
  superseded: state('calm', 'superseded', 'A later error on the same page took this one’s place.'),
  unknown: state(
    'warn',
    'unknown',
    'Nobody can tell whether a step happened; it is not repeated. A person should look.',
  ),
};

export const stateOf = (name) =>
  STATES[name] ?? state('calm', name.replaceAll('_', ' '), 'A state that this console does not know.');

/** The classes of errors (docs/terms.md). */
export const SEVERITIES = {
  NONE: state('calm', 'no error', 'The bank holds no valid error.'),
  CORRECTED: state('calm', 'corrected', 'The hardware got over it by itself. It counts towards trends.'),
  DEFERRED: state('warn', 'DEFERRED', 'AMD: bad data was found and marked as poison; nobody has consumed it.'),
  UCNA: state('warn', 'UCNA', 'Intel: uncorrected, no action required; nobody has consumed it.'),
  SRAO: state('warn', 'SRAO', 'Intel: uncorrected, software may act; nobody has consumed it.'),
  SRAR: state('bad', 'SRAR', 'Consumed: software must act before whoever took it in runs on.'),
  FATAL: state(
    'bad',
    'FATAL',
    'The processor’s context may be corrupt, or nothing confines the error: the host halts.',
  ),
};

export const severityOf = (name) =>
  SEVERITIES[name] ?? state('calm', name || 'no severity', 'A class that this console does not know.');

/** What an operation on a domain means for it: said before anybody grants one (II.2, B.6). */
export const OPERATIONS = {
  pause: {
    done: 'paused',
    verb: 'pause',
    means: 'It stops running and keeps its memory, until somebody lets it run again. Its users wait all the while.',
  },
  save: {
    done: 'saved',
    verb: 'save',
    means: 'Its memory is written to disk and it stops here. It stands still until somebody restores it.',
  },
  restore: {
    done: 'restored',
    grave: true,
    verb: 'restore',
    means: 'It goes back to its last checkpoint. What it did since then is lost.',
  },
  migrate: {
    done: 'migrated',
    verb: 'migrate',
    means: 'It moves to another host and is stopped for a moment only. It runs there from then on.',
  },
  shutdown: {
    done: 'shut down',
    verb: 'shut down',
    means: 'It is asked to end in order, and does not come again by itself.',
  },
  restart: {
    done: 'restarted',
    grave: true,
    verb: 'restart',
    means: 'It is destroyed and built anew: whatever it had not written to its disks is lost.',
  },
  destroy: {
    done: 'destroyed',
    grave: true,
    verb: 'destroy',
    means:
      'It ends at once, without being asked: whatever it had not written to its disks is lost, and it does not come again by itself.',
  },
};

/** What else a person can have done, and what it means: said before it is (II.3). */
export const DEEDS = {
  unpause: {
    verb: 'unpause',
    means:
      'It runs again, from where it was stopped. While an open case is about it, this is refused: it could touch what is broken.',
  },
  'page offline': {
    verb: 'take out of use',
    means: 'Nobody gets this page any more. If a domain has it, it is out of use as soon as the domain lets go of it.',
  },
  'page online': {
    verb: 'put back into use',
    means: 'Anybody may get this page again. While a fault stands against it, this is refused: acquit it first.',
  },
  'cpu offline': {
    verb: 'take out of use',
    means: 'Nothing runs on this CPU any more; the host has one fewer. CPU 0 cannot be taken out.',
  },
  'cpu online': {
    verb: 'put back into use',
    means: 'The host runs on this CPU again. While a fault stands against it, this is refused: acquit it first.',
  },
  acquitted: {
    verb: 'was not at fault',
    means:
      'What was counted against it, and against all that lies in it, does not count any more. It stays in the machine.',
  },
  repaired: {
    verb: 'was mended',
    means: 'It begins anew: what was counted before, for it and for all that lies in it, does not count any more.',
  },
  replaced: {
    verb: 'was replaced',
    means: 'Another part is in its place and begins anew: what was counted before does not count any more.',
  },
  reload: {
    verb: 'load them again',
    means:
      'Both files are read again. If one of them is bad, nothing changes, and it is said why. What holds at the next start only is named.',
  },
  webhook: {
    verb: 'send it',
    means: 'The service sends one test event to it, now and once, from where the service is, and says what came back.',
  },
};

/** What is offered for a domain by its state; whether it can be done, the service checks. */
export const OFFERED = {
  running: ['pause', 'save', 'migrate', 'restore', 'shutdown', 'restart', 'destroy'],
  paused: ['unpause', 'save', 'migrate', 'restore', 'shutdown', 'restart', 'destroy'],
  saved: ['restore', 'restart'],
  migrated: [],
  'shut down': ['restore', 'restart'],
  crashed: ['restore', 'restart'],
  destroyed: ['restore', 'restart'],
};

export const operationOf = (name) =>
  OPERATIONS[name] ?? { done: name, verb: name, means: 'An operation that this console does not know.' };

/** Where a domain is in its life. */
export const DOMAIN_STATES = {
  running: state('good', 'running', 'It runs.'),
  paused: state('warn', 'paused', 'It is stopped, and keeps its memory.'),
  saved: state('warn', 'saved', 'Its memory is on disk; it stands still until somebody restores it.'),
  migrated: state('calm', 'migrated', 'It runs on another host.'),
  'shut down': state('calm', 'shut down', 'It ended in order.'),
  crashed: state('bad', 'crashed', 'It ended by itself, not in order.'),
  destroyed: state('bad', 'destroyed', 'It was ended at once.'),
};

export const domainStateOf = (name) =>
  DOMAIN_STATES[name] ?? state('calm', name, 'A state that this console does not know.');

/** Where a fault stands over its time (diagnosis/fault_case.py). */
export const STAGES = {
  diagnosed: state('warn', 'diagnosed', 'Its errors passed a threshold.'),
  acting: state('work', 'acting', 'Something is being done about it.'),
  isolated: state('good', 'isolated', 'The part is out of use, or nothing of worth is left in it.'),
  untreated: state(
    'bad',
    'replace it',
    'What was tried failed, or nothing can be done ahead: a person must replace it.',
  ),
  repaired: state('calm', 'repaired', 'A person mended it.'),
  replaced: state('calm', 'replaced', 'Another part is in its place.'),
  acquitted: state('calm', 'acquitted', 'A person said that it was not at fault.'),
};

export const stageOf = (name) => STAGES[name] ?? state('calm', name, 'A stage that this console does not know.');

/** Where a part stands for people, the worst first (service/control_protocol.py). */
export const PART_STATES = {
  faulty: state(
    'bad',
    'faulty',
    'Its errors passed a threshold, and nothing could be done about it ahead: it is to be replaced.',
  ),
  'being dealt with': state('work', 'being dealt with', 'Something is being done about it.'),
  retired: state('good', 'retired', 'It is out of use, or nothing of worth is left in it.'),
  suspected: state('warn', 'suspected', 'The spread of the errors points at it; its threshold is not passed.'),
  watched: state('calm', 'watched', 'Its errors are counted.'),
  cleared: state('calm', 'cleared', 'It was repaired, replaced, or not at fault, and has not erred since.'),
};

export const partStateOf = (name) =>
  PART_STATES[name] ?? state('calm', name, 'A state that this console does not know.');

/** Tones of the grades of suspects; what each means, the service says (`api/v1/words`). */
export const GRADES = {
  strong: 'bad',
  likely: 'warn',
  possible: 'calm',
};

const MARKS = { good: '✓', work: '◔', warn: '▲', bad: '■', calm: '·' };

export const markOf = (tone) => MARKS[tone] ?? '·';

/** The stages of an explained case, in their order, by the sort of link. */
export const CHAIN = [
  ['Evidence', 'The registers as the hardware left them.', ['evidence', 'also seen', 'lost', 'unread']],
  ['Finding', 'What the registers mean, and how bad it is.', ['finding', 'trend', 'known bad']],
  ['Impact', 'Who took the error in, and who lost something, with what speaks for it.', ['impact']],
  [
    'Decision',
    'What shall be done, by which row of the concept, and why.',
    ['decision', 'question', 'answer', 'approval', 'instruction', 'plug-in', 'deadline'],
  ],
  [
    'Steps',
    'What was ordered, and what became of each order.',
    ['step', 'order', 'result', 'domain', 'Dom0', 'policy', 'start', 'stop', 'config', 'modules', 'journal'],
  ],
  ['Outcome', 'How it ended, for each who was concerned.', ['outcome', 'superseded', 'cleared']],
];

export const stageOfLink = (what) => CHAIN.find(([, , kinds]) => kinds.includes(what))?.[0] ?? 'Steps';

/** How much an event of the stream weighs. */
export const TONES = {
  finding: 'warn',
  trend: 'warn',
  lost: 'bad',
  unread: 'warn',
  approval: 'warn',
  deadline: 'warn',
  impact: 'warn',
  outcome: 'good',
  answer: 'work',
  order: 'work',
  result: 'work',
  step: 'work',
  decision: 'work',
  question: 'work',
};

export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString('en')} ${n === 1 ? one : many}`;
