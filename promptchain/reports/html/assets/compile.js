// A compile: what it gained, the score against the calls, and the prompts word by word.

function compileSection(one) {
  const test = one.test, course = one.course;
  return [
    el('div', { class: 'hero' },
      test ? el('p', { class: 'score' }, el('span', { class: 'big-number' }, share(test.before, test.examples)), el('span', { class: 'arrow-to', 'aria-label': 'to' }, ' → '), el('span', { class: `big-number ${test.after > test.before ? 'good-text' : ''}` }, share(test.after, test.examples)),
        el('span', { class: 'muted' }, ` of ${plural(test.examples, 'held-out example')} pass`)) : null,
      test && known(test.p) && el('p', { class: 'muted small' }, `${test.better} better, ${test.worse} worse; ${signed(100 * test.low)} to ${signed(100 * test.high)} points (95 %), ${byChance(test.p)}`),
      el('p', {}, one.kept ? badge('kept', `the words of the chain file were kept: ${one.kept}`) : badge('passed', 'adopted'))),
    facts([
      ['model', one.model], ['version', one.version], ['started', course && when(course.started)], ['took', course && seconds(course.seconds)], ['calls', one.spent.calls.toLocaleString('en')], ['tokens', one.spent.tokens.toLocaleString('en')], ['cost', dollars(one.spent.cost)],
      ['train, dev, held out', course && course.parts.join(', ')], ['cost of a run', course && beforeAfter(course.run_cost, dollars)], ['time of a run', course && beforeAfter(course.run_seconds, seconds)],
    ]),
    course && course.warnings.map((warning) => callout('warn', 'Note:', warning)),
    course && course.curve.length > 1 && [el('h3', {}, 'Score against calls'), curve(course.curve)],
    shares(one), course && stages(course),
    one.prompts.length > 0 && [el('h3', {}, 'Prompts, compared with the chain file'), one.prompts.map((step) => el('section', { class: 'prompt' },
      el('h4', {}, step.step), step.parts.map((part) => [el('h5', {}, part.field, ' ', el('span', { class: 'muted' }, part.kind)), edits(part.edits)])))],
    !course && el('p', { class: 'muted' }, 'How this compile went is not kept here.'),
  ];
}

function beforeAfter([before, after], word) {
  if (!known(before) && !known(after)) return null;
  return word(before) === word(after) ? word(before) : `${word(before)} → ${word(after)}`;
}

function shares(one) {
  const rows = Object.entries({ ...(one.dev ? { 'whole chain, dev': one.dev } : {}), ...(one.test ? { 'whole chain, held out': one.test } : {}), ...one.by_step });
  return rows.length > 0 && dataTable('Shares before and after', [['', ''], ['before', 'num'], ['after', 'num'], ['better', 'num'], ['worse', 'num'], ['examples', 'num wide']],
    rows.map(([name, own]) => [name, share(own.before, own.examples), share(own.after, own.examples), own.better, own.worse, own.examples.toLocaleString('en')]));
}

function stages(course) {
  const rows = course.steps.flatMap((step) => (step.skipped ? [[step.step, NONE, '', '', step.skipped]]
    : step.stages.map((stage) => [step.step, `${stage.optimizer} (${stage.tried})`, known(stage.before) && known(stage.after) ? `${share(stage.before)} → ${share(stage.after)}` : NONE, stage.calls.toLocaleString('en'), [stage.tried ? stage.best : '', stage.note].filter(Boolean).join('; ')])));
  return rows.length > 0 && [el('h3', {}, 'What was tried'), dataTable('What was tried', [['step', ''], ['optimizer (candidates)', ''], ['dev', 'num'], ['calls', 'num'], ['best', 'why']], rows)];
}

const INKS = ['a', 'b', 'c', 'd', 'e', 'f'];

// A line of steps for each step of the chain, and one for the whole; what rests on a part of the dev examples, as during
// a race, is a ring beside it. Drawn anew when the width changes.
function curve(points) {
  const names = [...new Set(points.map((point) => point[1] || ''))];
  const all = Math.max(...points.map((point) => point[4]));
  const frame = el('div', { class: 'curve' });
  const legend = el('ul', { class: 'legend' }, names.map((name, index) => el('li', {}, el('span', { class: `ink ${INKS[index % INKS.length]}`, 'aria-hidden': 'true' }), name || 'whole chain')),
    points.some((point) => point[4] < all) && el('li', {}, el('span', { class: 'ink ring', 'aria-hidden': 'true' }), 'who leads a race, on a part of them'));
  let before = 0;
  new ResizeObserver(() => {
    const width = frame.clientWidth;
    if (width && width !== before) { before = width; frame.replaceChildren(plot(points, names, all, width)); }
  }).observe(frame);
  return el('figure', {}, frame, el('figcaption', {}, legend, el('p', { class: 'muted small' }, 'Share of the dev examples that pass, when so many distinct calls had been made.', Math.max(...lanesOf(points, names).values()) ? ' Lines of the same score are drawn a little apart.' : null)),
    lazy({ class: 'extra' }, 'As a table', () => dataTable('Score against calls', [['calls', 'num'], ['step', ''], ['score', 'num'], ['examples', 'num'], ['what', 'why']],
      points.map(([calls, step, score, what, rows]) => [calls.toLocaleString('en'), step || 'whole chain', share(score), rows, what]))));
}

function plot(points, names, all, width) {
  const lanes = lanesOf(points, names);
  const height = Math.max(180, Math.min(320, width * 0.5)), left = 52, right = 16, top = 12 + LANE * Math.max(...lanes.values()), bottom = 30;
  const most = Math.max(1, ...points.map(([calls]) => calls));
  const x = (calls) => left + ((width - left - right) * calls) / most, y = (score) => height - bottom - (height - bottom - top) * score;
  const ticks = niceTicks(most, width < 500 ? 4 : 7);
  return svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': 'Score against calls; the table below has the same' },
    [0, 0.25, 0.5, 0.75, 1].map((score) => [svg('line', { class: 'grid', x1: left, x2: width - right, y1: y(score), y2: y(score) }), svg('text', { class: 'tick', x: left - 8, y: y(score) + 4, 'text-anchor': 'end' }, `${100 * score} %`)]),
    ticks.map((tick) => svg('text', { class: 'tick', x: x(tick), y: height - 10, 'text-anchor': 'middle' }, tick.toLocaleString('en'))),
    names.map((name, index) => {
      const own = points.filter((point) => (point[1] || '') === name), whole = own.filter((point) => point[4] >= all);
      const at = (score) => y(score) - LANE * lanes.get(name);
      const path = whole.map(([calls, , score], index) => (index ? `H${x(calls)}V${at(score)}` : `M${x(calls)},${at(score)}`)).join('');
      const ink = INKS[index % INKS.length];
      return [svg('path', { class: `curve-line ${ink} ${name ? '' : 'whole'}`, d: path }), own.map(([calls, , score, what, rows]) => svg('circle', { class: `dot ${ink} ${rows < all ? 'part' : ''}`, cx: x(calls), cy: at(score), r: rows < all ? 3 : 4 },
        svg('title', {}, `${name || 'whole chain'}: ${share(score)} of ${plural(rows, 'example')} after ${calls.toLocaleString('en')} calls (${what})`)))];
    }));
}

const LANE = 6;

// How many lines below it a line would lie upon: it is drawn so many lanes higher, for both to be seen.
function lanesOf(points, names) {
  const scores = new Map(names.map((name) => [name, new Set(points.filter((point) => (point[1] || '') === name).map((point) => point[2]))]));
  const meet = (one, other) => [...scores.get(one)].some((score) => scores.get(other).has(score));
  const lanes = new Map();
  for (const name of names) {
    const taken = new Set([...lanes.keys()].filter((other) => meet(name, other)).map((other) => lanes.get(other)));
    lanes.set(name, [...Array(names.length).keys()].find((lane) => !taken.has(lane)));
  }
  return lanes;
}

function niceTicks(most, count) {
  const rough = most / count, size = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  const step = [1, 2, 5, 10].map((part) => part * size).find((part) => part >= rough) || size;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, index) => index * step);
}
