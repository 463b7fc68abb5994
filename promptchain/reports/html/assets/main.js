// Puts the sections on the page: the first at once, the others when the page has been shown.

const DRAW = { run: runSection, evaluation: evaluationSection, compile: compileSection, chain: chainSection, comparison: (one) => comparison(one.comparison) };

function theme() {
  const button = document.getElementById('theme'), root = document.documentElement;
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  const remember = (value) => { try { localStorage.setItem('chain-report-theme', value); } catch { /* not allowed from disk everywhere */ } };
  let chosen = null;
  try { chosen = localStorage.getItem('chain-report-theme'); } catch { /* as above */ }
  const draw = () => {
    const isDark = chosen ? chosen === 'dark' : dark.matches;
    if (chosen) root.dataset.theme = chosen;
    button.textContent = isDark ? 'Light' : 'Dark';
    button.setAttribute('aria-label', `Switch to the ${isDark ? 'light' : 'dark'} theme`);
  };
  button.addEventListener('click', () => {
    chosen = (chosen ? chosen === 'dark' : dark.matches) ? 'light' : 'dark';
    remember(chosen);
    draw();
  });
  dark.addEventListener('change', draw);
  draw();
}

function overview(sections) {
  const all = sections.filter((one) => one.kind === 'evaluation');
  if (all.length < 2) return null;
  return el('section', { 'aria-label': 'All evaluations' }, dataTable('All evaluations', [['evaluation', ''], ['score', 'num'], ['', 'wide'], ['failed', 'num'], ['cost', 'num'], ['time', 'num wide']],
    all.map((one) => [[el('a', { href: `#${one.anchor}` }, one.name, modelNames(one.models) ? ` on ${modelNames(one.models)}` : ''), one.version && el('span', { class: 'muted' }, ` ${one.version}`)], [mark(one.passed ? 'passed' : 'failed'), ' ', one.score ? share(one.score.value, one.score.n) : NONE], bar(one.score, { class: 'bar fixed' }), one.counts.failed.toLocaleString('en'), dollars(one.cost), seconds(one.seconds)])));
}

function show() {
  theme();
  const main = document.getElementById('main'), sections = report.sections;
  document.getElementById('made').textContent = `${when(report.made)} · promptchain ${report.release}`;
  if (report.cut) main.append(callout('warn', 'Shortened:', `texts of more than ${report.cut.toLocaleString('en')} characters are cut, so that this file stays small.`));
  sections.forEach((one, index) => { one.anchor = `section-${index + 1}`; });
  const summary = overview(sections);
  if (summary) main.append(summary);
  const alone = sections.length === 1;
  const places = sections.map((one) => {
    const place = el('section', { class: 'section', id: one.anchor, tabindex: -1, 'aria-label': one.title }, el('h2', { class: alone && report.title === one.title ? 'sr' : null }, one.title));
    main.append(place);
    return place;
  });
  if (!alone) {
    const nav = document.getElementById('sections');
    nav.hidden = false;
    nav.append(...sections.map((one) => el('a', { href: `#${one.anchor}` }, one.short || one.title)));
  }
  const draw = (index) => {
    if (index >= sections.length) return;
    places[index].append(...[DRAW[sections[index].kind](sections[index])].flat(4).filter(Boolean));
    if (index + 1 < sections.length) setTimeout(() => draw(index + 1));
    else document.documentElement.dataset.ready = 'yes';
  };
  draw(0);
  document.addEventListener('keydown', (event) => {
    if (event.key === '/' && !event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest('input,select,textarea')) {
      const search = document.querySelector('.big input[type=search]');
      if (search) { event.preventDefault(); search.focus(); }
    }
  });
}

show();
