// A chain: its steps and prompts, how it was tested and compiled, and its newest runs.

function chainSection(one) {
  const newest = one.evaluations[0];
  return [
    one.description && el('p', { class: 'lead' }, one.description),
    facts([
      ['model', one.model || modelNames(Object.fromEntries(one.steps.map((step) => [step.id, step.model]).filter(([, model]) => model)))], ['inputs', Object.keys(one.inputs).join(', ')], ['outputs', Object.keys(one.outputs).join(', ')],
      ['labels', Object.entries(one.labels).map(([label, version]) => `${label}: ${version}`).join(', ')], ['newest score', newest && newest.score ? `${share(newest.score.value, newest.score.n)} (${range(newest.score)})` : null],
    ]),
    drawGraph(one.graph, (node) => aboutStep(one.scores[node.id]) || { lines: [] }),
    el('h3', {}, 'Prompts'), el('div', { class: 'stack' }, one.steps.map(prompt)),
    one.evaluations.length > 0 && [el('h3', {}, 'Evaluations'), dataTable('Evaluations', [['version', ''], ['score', 'num'], ['', 'wide'], ['models', 'wide'], ['examples', 'num wide'], ['cost', 'num'], ['started', 'num'], ['evaluation', 'wide']],
      one.evaluations.map((own) => [[own.version, own.compiled ? el('span', { class: 'muted' }, ' compiled') : ''], own.score ? share(own.score.value, own.score.n) : NONE, bar(own.score, { class: 'bar fixed' }), modelNames(own.models), own.examples.toLocaleString('en'), dollars(own.cost), when(own.started), el('code', {}, own.id)]))],
    one.compiles.map((own) => el('section', { class: 'sub' }, el('h3', {}, `Compiled for ${own.model}`), compileSection(own))),
    one.runs.length > 0 && [el('h3', {}, 'Newest runs'), dataTable('Newest runs', [['run', ''], ['status', ''], ['version', 'wide'], ['took', 'num'], ['tokens', 'num wide'], ['cost', 'num'], ['started', 'num wide']],
      one.runs.map((run) => [el('code', {}, run.id.slice(0, 12)), badge(run.status), run.version, seconds(run.seconds), run.tokens.toLocaleString('en'), dollars(run.cost), when(run.started)]))],
  ];
}

function prompt(step) {
  const summary = [el('strong', {}, step.id), el('span', { class: 'muted' }, ` ${step.kind}${step.model ? ` on ${step.model}` : ''}`)];
  return lazy({ class: 'step' }, summary, () => el('div', { class: 'course' },
    step.does && el('p', {}, step.does), step.instructions && [el('h4', {}, 'Instructions'), block(step.instructions)], step.prompt && [el('h4', {}, 'Prompt'), block(step.prompt)],
    step.output && el('p', { class: 'muted small' }, `Gives: ${step.output}`, step.demos ? `; ${plural(step.demos, 'example')} before it` : '')));
}
