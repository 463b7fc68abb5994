// An evaluation: how good the chain is, which step costs it how much, what flipped, and every example.

const [ID, WHERE, TRY, STATE, SCORE, FIRST, PROBLEM, TOOK, INPUTS, OUTPUTS, STEPS, CHECKS] = Array(12).keys();
const [STATUS, PASSED, ON_GOLD, MENDS, VALUE, FAULT, SECONDS, COST] = Array(8).keys();

function evaluationSection(one) {
  const all = one.examples.length + (one.left_out || 0);
  const table = one.examples.length ? examplesTable(one) : el('p', { class: 'muted' }, 'There are no examples.');
  const toStep = (id) => {
    if (!table.at) return;
    table.at.set(id);
    table.scrollIntoView({ block: 'start' });
    table.search.focus({ preventScroll: true });
  };
  return [
    el('div', { class: 'hero' },
      el('p', { class: 'score' }, el('span', { class: 'big-number' }, one.score ? share(one.score.value, one.score.n) : NONE), el('span', { class: 'muted' }, one.score ? ` of ${plural(one.score.n, 'example')} pass` : ' nothing could be scored')),
      one.score && el('p', { class: 'muted small' }, bar(one.score, { class: 'bar wide' }), `95 % interval ${range(one.score)}`),
      el('p', {}, badge(one.passed ? 'passed' : 'failed', one.passed ? (one.counts.failed ? 'the gate is met' : 'passed') : one.gate.length ? 'the gate is not met' : one.stopped ? 'stopped' : 'examples failed'))),
    facts([
      ['passed', el('span', { class: 'good-text' }, one.counts.passed.toLocaleString('en'))], ['failed', el('span', { class: one.counts.failed ? 'bad-text' : '' }, one.counts.failed.toLocaleString('en'))],
      ['not scored', one.counts.errors ? one.counts.errors.toLocaleString('en') : null], ['not checked', one.counts.unchecked ? one.counts.unchecked.toLocaleString('en') : null], ['version', one.version], ['models', modelNames(one.models)], ['started', when(one.started)],
      ['took', seconds(one.seconds)], ['calls', `${one.calls.toLocaleString('en')} (${one.new_calls.toLocaleString('en')} new)`], ['cost', dollars(one.cost)],
      ['tries each', one.repeat > 1 ? one.repeat : null], ['filter', (one.words || []).join(' ')], ['dataset', one.dataset.files.join(', ')],
    ]),
    one.stopped && callout('bad', 'It stopped early:', one.stopped),
    one.gate.length > 0 && callout('bad', 'The gate is not met:', el('ul', {}, one.gate.map((miss) => el('li', {}, miss)))),
    one.unused_assertions.length > 0 && callout('warn', 'Not applied:', one.unused_assertions.join('; ')),
    one.graph && [el('h3', {}, 'Steps'), drawGraph(one.graph, (node) => aboutStep(one.steps[node.id]), one.examples.length ? toStep : null)],
    stepTable(one), means('Retrieval', one.retrieval), means('Metrics', one.metrics),
    one.comparison && comparison(one.comparison),
    el('h3', { id: newId('examples') }, 'Examples'),
    !one.whole && el('p', { class: 'muted' }, 'What is kept of an evaluation has no inputs, outputs and reasons. ', el('code', {}, `chain test ${one.chain} --html report.html`), ' makes a report with them; answers come from the cache.'),
    one.left_out && callout('warn', 'Left out:', `${plural(one.left_out, 'example')} of ${all.toLocaleString('en')}, so that this file stays small.`),
    table,
  ];
}

function aboutStep(step) {
  if (!step) return null;
  const lines = [step.score ? share(step.score.value, step.score.n) : null, step.blame ? el('span', { class: 'bad-text', title: 'what the chain would gain were this step perfect' }, `costs ${share(step.blame)}`) : null,
    known(step.p50) ? seconds(step.p50) : null, step.calls ? dollars(step.cost) : null];
  return { lines: lines.filter(Boolean), bar: bar(step.score), title: 'Show the examples that fail here' };
}

function stepTable(one) {
  const head = [['step', ''], ['score', 'num'], ['95 %', 'num wide'], ['on gold input', 'num wide', 'on expected values in place of what the steps before gave'],
    ['blame', 'num', 'what the chain would gain were this step perfect'], ['calls', 'num wide'], ['cost', 'num'], ['p50', 'num'], ['p95', 'num wide']];
  const row = (name, step) => [name, step.score ? share(step.score.value, step.score.n) : NONE, range(step.score), step.gold ? share(step.gold.value, step.gold.n) : NONE,
    known(step.blame) ? (step.method === 'first failure' ? '~' : '') + share(step.blame) : NONE, (step.calls || 0).toLocaleString('en'), dollars(step.cost), seconds(step.p50), seconds(step.p95)];
  return [dataTable('Scores by step', head, one.step_names.map((name) => row(name, one.steps[name]))),
    one.several_steps > 0 && el('p', { class: 'muted small' }, `${share(one.several_steps)} of the failures no single step mends.`)];
}

function means(title, all) {
  const names = Object.keys(all || {});
  return names.length > 0 && [el('h3', {}, title), dataTable(title, [['measure', ''], ['mean', 'num'], ['95 %', 'num'], ['examples', 'num']],
    names.map((name) => [name, fixed(all[name].value, 3), `${fixed(all[name].low, 2)}–${fixed(all[name].high, 2)}`, all[name].n.toLocaleString('en')]))];
}

// --- what flipped

function comparison(one) {
  const worse = one.flipped.filter((flip) => !flip.better), better = one.flipped.filter((flip) => flip.better);
  const chain = one.chain;
  const steps = Object.entries(one.steps || {}).filter(([, step]) => step);
  return el('section', { class: 'comparison' },
    el('h3', {}, 'Compared with ', one.before),
    chain && el('p', { class: 'score' }, el('span', { class: `big-number ${chain.difference < 0 ? 'bad-text' : chain.difference > 0 ? 'good-text' : ''}` }, signed(100 * chain.difference)),
      el('span', { class: 'muted' }, ` points (95 %: ${signed(100 * chain.low)} to ${signed(100 * chain.high)}, ${byChance(chain.p)}), ${worse.length} worse and ${better.length} better of ${plural(chain.n, 'example')}`)),
    steps.length > 0 && dataTable('Difference by step', [['step', ''], ['points', 'num'], ['95 %', 'num'], ['p', 'num'], ['worse', 'num'], ['better', 'num']],
      steps.map(([name, step]) => [name, signed(100 * step.difference), `${signed(100 * step.low)} to ${signed(100 * step.high)}`, chance(step.p), step.worse, step.better])),
    one.left_out > 0 && el('p', { class: 'muted small' }, `${plural(one.left_out, 'example')} could not be scored on both sides.`),
    one.flipped.length ? flips(one, worse, better) : el('p', { class: 'muted' }, 'No example flipped.'));
}

function flips(one, worse, better) {
  const columns = [
    { name: 'now', kind: 'state', cell: (flip) => badge(flip.better ? 'passed' : 'failed', flip.better ? 'passes' : 'fails'), sort: (flip) => Number(flip.better) },
    { name: 'example', kind: 'id', cell: (flip) => el('span', { class: 'clamped' }, flip.id), sort: (flip) => flip.id },
    { name: 'failed at', kind: 'narrow', cell: (flip) => flip.first || 'outputs', sort: (flip) => flip.first },
    ...(one.flipped.some((flip) => flip.why.length) ? [{ name: 'why it failed', kind: 'why wide', cell: (flip) => flip.why.join('; ') }] : []),
  ];
  const filter = { label: 'Which way', choices: [['', 'All', one.flipped.length], ['worse', 'Worse', worse.length], ['better', 'Better', better.length]], keep: (flip, value) => flip.better === (value === 'better') };
  return bigTable({ caption: 'flipped examples', rows: one.flipped, columns, filters: [filter], text: (flip) => `${flip.id} ${flip.first || ''} ${asJson(flip.inputs)} ${flip.why.join(' ')}`, open: flipped });
}

function flipped(flip) {
  return el('div', { class: 'detail' },
    flip.why.length > 0 && el('ul', { class: 'reasons' }, flip.why.map((why) => el('li', {}, mark('failed'), ' ', why))),
    Object.keys(flip.inputs).length > 0 && [el('h4', {}, 'Inputs'), values(flip.inputs)],
    flip.changes.length > 0 ? [el('h4', {}, 'What it gave, before and after'), flip.changes.map((change) => [el('h5', {}, change.name), change.edits ? edits(change.edits)
      : el('div', { class: 'pair' }, el('div', {}, el('p', { class: 'muted small' }, 'before'), block(change.before)), el('div', {}, el('p', { class: 'muted small' }, 'after'), block(change.after)))])]
      : el('p', { class: 'muted' }, flip.where, ' No answers are kept.'));
}

// --- examples

const LONG_ID = 60; // which the table may have cut

function examplesTable(one) {
  const count = (state) => one.examples.filter((row) => row[STATE] === state).length;
  const choices = [['', 'All', one.examples.length], ['failed', 'Failed', count('failed')], ['error', 'Not scored', count('error')], ['unchecked', 'Not checked', count('unchecked')], ['passed', 'Passed', count('passed')]].filter(([value, , number]) => !value || number);
  const why = (row) => reasons(one, row)[0] || '';
  const columns = [
    { name: 'state', kind: 'state', cell: (row) => badge(row[STATE]), sort: (row) => ({ failed: 0, error: 1, unchecked: 2, passed: 3 })[row[STATE]] },
    { name: 'example', kind: 'id', cell: (row) => [el('span', { class: 'clamped' }, row[ID]), one.repeat > 1 && one.whole ? el('span', { class: 'muted' }, ` try ${row[TRY] + 1}`) : null], sort: (row) => row[ID] },
    ...(one.step_names.length <= 8 ? one.step_names.map((name, index) => ({
      name, kind: 'verdict wide', tip: `whether ${name} passed`, cell: (row) => (stateOf(row[STEPS][index][PASSED]) ? mark(stateOf(row[STEPS][index][PASSED])) : el('span', { class: 'muted' }, '·')),
      sort: (row) => (row[STEPS][index][PASSED] === null ? null : Number(row[STEPS][index][PASSED])),
    })) : []),
    { name: 'failed at', kind: 'narrow', cell: (row) => (row[STATE] === 'failed' ? row[FIRST] || 'outputs' : ''), sort: (row) => row[FIRST] },
    ...(one.whole ? [{ name: 'why', kind: 'why wide', cell: why }, { name: 'time', kind: 'num wide', cell: (row) => seconds(row[TOOK]), sort: (row) => row[TOOK] }] : []),
    { name: 'score', kind: 'num', cell: (row) => (known(row[SCORE]) ? fixed(row[SCORE], 2) : NONE), sort: (row) => row[SCORE] },
  ];
  const at = {
    label: 'Failed at', choices: [['', 'at any step'], ...one.step_names.map((name) => [name, `where ${name} failed`]), ['\u0000outputs', 'where only outputs failed']],
    keep: (row, name) => (name === '\u0000outputs' ? row[STATE] === 'failed' && !row[FIRST] : row[STEPS][one.step_names.indexOf(name)][PASSED] === false || row[FIRST] === name),
  };
  const filters = [{ label: 'State', choices, keep: (row, value) => row[STATE] === value }, ...(one.step_names.length ? [at] : [])];
  const text = (row) => [row[ID], row[WHERE], row[FIRST], row[PROBLEM], asJson(row[INPUTS]), asJson(row[OUTPUTS]), row[STEPS].map((step) => (step[VALUE] === null ? '' : oneLine(step[VALUE]))).join(' '), row[CHECKS].map((check) => check[3]).join(' ')].join(' ');
  const table = bigTable({ caption: 'examples', rows: one.examples, columns, filters, text, open: (row) => example(one, row) });
  table.at = at;
  return table;
}

// What failed it, that of the first step to fail first.
function reasons(one, row) {
  const failed = row[CHECKS].filter(([kind, passed, score]) => passed === false || (passed === null && score === null && row[STATE] === 'error'));
  const told = failed.map(([kind, , , why]) => [one.assertions[kind], why]).sort(([a], [b]) => Number(a.step !== row[FIRST]) - Number(b.step !== row[FIRST])).map(([kind, why]) => `${kind.step ? `${kind.step}: ` : kind.output ? `${kind.output}: ` : ''}${why || kind.type}`);
  return row[PROBLEM] ? [row[PROBLEM], ...told.filter((why) => !row[PROBLEM].includes(why))] : told;
}

function example(one, row) {
  if (!one.whole) return el('div', { class: 'detail' }, dataTable('Steps', [['step', ''], ['passed', '']], one.step_names.map((name, index) => [name, stateOf(row[STEPS][index][PASSED]) ? badge(stateOf(row[STEPS][index][PASSED])) : NONE])));
  return el('div', { class: 'detail' },
    el('p', { class: 'muted small' }, [row[ID].length > LONG_ID ? row[ID] : '', row[WHERE], seconds(row[TOOK]), row[STATE] === 'failed' ? `failed at ${row[FIRST] || 'outputs'}` : ''].filter(Boolean).join(' · ')),
    row[PROBLEM] && callout(row[STATE] === 'failed' ? 'bad' : 'warn', { error: 'Not scored:', unchecked: 'Not checked:' }[row[STATE]] || 'It failed:', row[PROBLEM]),
    el('h4', {}, 'Inputs'), values(row[INPUTS]),
    one.step_names.map((name, index) => stepOf(one, row, name, row[STEPS][index])),
    Object.keys(row[OUTPUTS]).length > 0 && lazy({ class: 'extra' }, `Outputs: ${Object.keys(row[OUTPUTS]).join(', ')}`, () => values(row[OUTPUTS])),
    checks(one, row, null));
}

function stepOf(one, row, name, step) {
  const notes = [step[SECONDS] ? seconds(step[SECONDS]) : '', step[COST] ? dollars(step[COST]) : '', step[ON_GOLD] === true && step[PASSED] === false ? 'passes on expected input' : '', step[MENDS] === true ? 'the example would pass with the expected value here' : ''];
  return el('section', { class: `of-step ${step[PASSED] === false ? 'is-failed' : ''}` },
    el('h4', {}, stateOf(step[PASSED]) ? mark(stateOf(step[PASSED])) : mark(step[STATUS]), ' ', name, el('span', { class: 'muted small' }, ` ${notes.filter(Boolean).join(' · ')}`)),
    step[FAULT] && el('p', { class: 'bad-text' }, step[FAULT]), step[VALUE] !== null && block(step[VALUE]), checks(one, row, name));
}

function checks(one, row, step) {
  const own = row[CHECKS].filter(([kind]) => (one.assertions[kind].step || null) === step);
  return own.length > 0 && el('ul', { class: 'reasons' }, own.map(([kind, passed, score, why]) => {
    const { type, output, metric } = one.assertions[kind];
    return el('li', {}, passed === null ? mark('skipped', 'not applied') : mark(passed ? 'passed' : 'failed'), ' ', el('code', {}, type), output ? ` on ${output}` : '', metric ? ` (${metric})` : '', known(score) && score > 0 && score < 1 ? ` ${fixed(score, 2)}` : '', why ? el('span', { class: 'muted' }, ` ${why}`) : '');
  }));
}
