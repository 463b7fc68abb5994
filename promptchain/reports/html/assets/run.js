// A run in time: a line for each step, and in it every message that was sent and received.

function runSection(run) {
  const head = [
    facts([
      ['status', badge(run.status)], ['run', el('code', {}, run.id)], ['version', run.version], ['model', run.model || NONE], ['started', when(run.started)],
      ['took', seconds(run.seconds)], ['calls', callsOf(run.totals)],
      ['tokens', (run.totals.prompt_tokens + run.totals.completion_tokens).toLocaleString('en')], ['cost', dollars(run.totals.cost)],
      ['compiled', run.compiled && `${run.compiled.steps.join(', ')} for ${run.compiled.model}`], ['replays', run.replay_of],
    ]),
    run.error && callout('bad', 'It failed:', run.error, run.hint && el('span', { class: 'hint' }, run.hint)),
    run.note && callout('warn', 'Without the messages that were sent:', run.note),
  ];
  const timeline = steps(run.steps, run);
  const show = (id) => {
    const item = [...timeline.querySelectorAll(':scope > li > details')].find((one) => one.dataset.step === id);
    if (item) { item.openNow(); item.querySelector('summary').focus(); item.scrollIntoView({ block: 'start' }); }
  };
  const byName = new Map(run.steps.map((step) => [step.name, step]));
  const about = (node) => {
    const step = byName.get(node.id);
    return step && { state: step.status, lines: [seconds(step.seconds), step.calls ? dollars(step.cost) : null], title: 'Show what it did' };
  };
  return [
    head,
    run.graph && [el('h3', {}, 'Steps'), drawGraph(run.graph, about, show)],
    el('div', { class: 'pair' },
      el('section', {}, el('h3', {}, 'Inputs'), values(run.inputs)),
      el('section', {}, el('h3', {}, 'Outputs'), values(run.outputs, run.status === 'done' ? 'none' : 'none, since it did not end well'))),
    el('div', { class: 'bar-head' }, el('h3', {}, 'Timeline'), openAll(timeline)),
    timeline,
  ];
}

function callsOf(totals) {
  const cached = totals.cached ? ` (and ${totals.cached.toLocaleString('en')} from the cache)` : '';
  return totals.calls.toLocaleString('en') + cached;
}

function openAll(timeline) {
  const button = el('button', { type: 'button', class: 'quiet' }, 'Open all');
  button.addEventListener('click', () => {
    const all = timeline.querySelectorAll(':scope > li > details');
    const open = button.textContent === 'Open all';
    all.forEach((one) => { if (open) one.openNow(); else one.open = false; });
    button.textContent = open ? 'Close all' : 'Open all';
  });
  return button;
}

const steps = (all, run) => el('ol', { class: 'timeline' }, all.map((step) => el('li', {}, stepLine(step, run))));

function stepLine(step, run) {
  const place = (started, took) => ({
    left: `${run.seconds ? Math.min(99.5, (100 * started) / run.seconds) : 0}%`,
    width: `${run.seconds ? Math.min(100, (100 * took) / run.seconds) : 100}%`,
  });
  const ran = step.status === 'done' || step.status === 'failed' || step.seconds > 0.001;
  const track = el('span', { class: 'track', 'aria-hidden': 'true' },
    ran && el('span', { class: `span ${(MARKS[step.status] || [])[1]}`, style: place(step.started, step.seconds) }),
    (step.items || [step]).slice(0, 200).flatMap((one) => [
      (one.turns || []).map(({ call }) => !call.cached && el('span', { class: 'call', style: place(call.started, call.seconds) })),
      (one.tools || []).map((tool) => el('span', { class: 'tool', style: place(tool.started, tool.seconds) })),
    ]));
  const what = step.items ? plural(step.items.length + (step.left_out || 0), 'item') : step.kind;
  const summary = [
    el('span', { class: 'who' }, mark(step.status), ' ', el('strong', {}, step.name), what && el('span', { class: 'muted' }, ` ${what}`)),
    track,
    el('span', { class: 'num' }, ran ? seconds(step.seconds) : step.status),
    el('span', { class: 'num muted' }, step.calls ? dollars(step.cost) : ''),
  ];
  const attributes = { class: 'step', 'data-step': step.name, open: step.status === 'failed' };
  return lazy(attributes, summary, () => el('div', { class: 'course' }, course(step, run)));
}

function course(step, run) {
  const samples = [...new Set(step.turns ? step.turns.map((turn) => turn.call.sample) : [])];
  return [
    step.does && el('p', { class: 'muted' }, step.does),
    step.error && callout(step.status === 'failed' ? 'bad' : 'warn', step.status === 'failed' ? 'It failed:' : 'Not run:', step.error,
      step.hint && el('span', { class: 'hint' }, step.hint)),
    (step.warnings || []).map((warning) => callout('warn', 'Note:', warning)),
    step.calls ? el('p', { class: 'muted' }, [plural(step.calls, 'call'), step.cached ? `${step.cached} from the cache` : '', plural(step.tokens, 'token'),
      step.tool_calls ? plural(step.tool_calls, 'tool call') : '', step.models.join(', ')].filter(Boolean).join(' · ')) : null,
    samples.length > 1
      ? samples.map((sample) => el('section', { class: 'sample' },
        el('h4', {}, `Sample ${sample + 1}${step.sample === sample ? ', which was taken' : ''}`),
        turns(step, step.turns.filter((turn) => turn.call.sample === sample))))
      : step.turns && turns(step, step.turns),
    loose(step),
    step.run && inner(step.run),
    step.items && steps(step.items, run),
    step.left_out && callout('warn', 'Left out:', `${plural(step.left_out, 'item')}, so that this file stays small.`),
    step.reasoning && !step.items && el('section', {}, el('h4', {}, 'Reasoning'), block(step.reasoning)),
    hasValue(step) && el('section', {}, el('h4', {}, 'Value'), step.passages ? passages(step.value) : block(step.value)),
  ];
}

// A value that is the very last reply has just been shown.
function hasValue(step) {
  const last = step.turns && step.turns[step.turns.length - 1];
  return step.value !== null && step.value !== undefined && !(last && last.received === step.value);
}

function turns(step, all) {
  const several = all.length > 1;
  return all.map((turn, index) => el('section', { class: 'turn' },
    several && el('h5', {}, `Call ${index + 1}`),
    turn.note && el('p', { class: 'muted' }, turn.sent ? turn.note : `No messages: ${turn.note}.`),
    turn.sent && !turn.sent.length && el('p', { class: 'muted' }, 'The same was sent again.'),
    (turn.sent || []).map((message) => bubble('sent', message.role, message.text)),
    turn.details && Object.keys(turn.details).length > 0 && lazy({ class: 'extra' }, 'Sent beside the messages: ' + Object.keys(turn.details).join(', '),
      () => values(turn.details)),
    turn.received !== null && bubble('received', 'assistant', turn.received, turn.call.error),
    turn.received === null && turn.call.error && callout('warn', 'No reply:', turn.call.error),
    el('p', { class: 'muted small' }, about(turn.call)),
    turn.tools.map((number) => tool(step.tools[number]))));
}

function about(call) {
  const [sent, written, cached] = call.tokens;
  return [call.model, call.cached ? 'from the cache' : seconds(call.seconds), `${sent} + ${written} tokens`, cached ? `${cached} of them cached` : '',
    dollars(call.cost), call.finish && call.finish !== 'stop' ? `finish: ${call.finish}` : '', call.format ? `format: ${call.format}` : ''].filter(Boolean).join(' · ');
}

function bubble(way, role, text, error) {
  return el('div', { class: `message ${way}` },
    el('p', { class: 'role' }, el('span', { 'aria-hidden': 'true' }, way === 'sent' ? '→ ' : '← '), way, ' ', el('strong', {}, role)),
    block(text), error && el('p', { class: 'bad-text' }, `not taken: ${error}`));
}

function tool(one) {
  return el('section', { class: 'toolrun' },
    el('p', { class: 'role' }, 'tool ', el('strong', {}, one.name), el('span', { class: 'muted' }, ` ${seconds(one.seconds)}`)),
    block(one.arguments), el('p', { class: 'muted small' }, 'gave'),
    one.error !== null ? callout('bad', 'Error:', one.error) : block(one.value), one.run && inner(one.run));
}

// Calls of tools that belong to no reply that is known, as in a step that was interrupted.
function loose(step) {
  const told = new Set((step.turns || []).flatMap((turn) => turn.tools));
  return (step.tools || []).filter((_, index) => !told.has(index)).map(tool);
}

function inner(run) {
  return el('section', { class: 'inner' },
    el('h4', {}, 'Chain ', run.chain, ' ', badge(run.status), el('span', { class: 'muted' }, ` ${seconds(run.seconds)} · ${dollars(run.totals.cost)}`)),
    lazy({ class: 'extra' }, 'Inputs', () => values(run.inputs)), steps(run.steps, run));
}

function passages(all) {
  return el('ol', { class: 'passages' }, all.map((one) => el('li', {}, lazy({}, [
    el('span', { class: 'num' }, known(one.score) ? one.score.toPrecision(3) : ''), ' ',
    el('strong', {}, one.source ? `${one.source}:${one.line}` : one.title || 'a passage'), ' ', el('span', { class: 'muted' }, one.source ? one.title : ''),
  ], () => block(one.text)))));
}
