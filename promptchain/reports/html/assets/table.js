// A table of many rows: a page of them is in the document at any time. Rows open to tell more.

const PAGE = 50;

// columns: [{name, kind, cell(row), sort(row), tip}]. filters: [{label, choices: [[value, label, count]], keep(row, value)}],
// the first as buttons, others as lists. text(row): what a search looks through. open(row): what a row tells more.
function bigTable({ caption, rows, columns, filters, text, open, start }) {
  const state = { page: 0, words: '', sort: null, down: false, chosen: (filters || []).map((_, index) => (start && start[index]) || '') };
  const texts = new Map();
  const body = el('tbody', {});
  const status = el('p', { class: 'muted', role: 'status', 'aria-live': 'polite' });
  const search = el('input', { type: 'search', placeholder: 'Search', 'aria-label': `Search ${caption}`, spellcheck: 'false' });
  const heads = columns.map((column, index) => el('th', { scope: 'col', class: column.kind, title: column.tip },
    column.sort ? el('button', { type: 'button', class: 'sort', on: { click: () => order(index) } }, column.name, el('span', { class: 'arrow', 'aria-hidden': 'true' })) : column.name));
  const back = el('button', { type: 'button', class: 'quiet', on: { click: () => turn(-1) } }, 'Previous');
  const next = el('button', { type: 'button', class: 'quiet', on: { click: () => turn(1) } }, 'Next');
  let found = rows;

  const lower = (row) => {
    if (!texts.has(row)) texts.set(row, text(row).toLowerCase());
    return texts.get(row);
  };
  function choose() {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    found = rows.filter((row) => (filters || []).every((filter, index) => !state.chosen[index] || filter.keep(row, state.chosen[index]))
      && words.every((word) => lower(row).includes(word)));
    if (state.sort !== null) {
      const key = columns[state.sort].sort;
      const sign = state.down ? -1 : 1;
      found = found.map((row) => [key(row), row]).sort(([a], [b]) => (a === b ? 0 : a === null || a === undefined ? 1 : b === null || b === undefined ? -1 : a < b ? -sign : sign)).map(([, row]) => row);
    }
    state.page = 0;
    draw();
  }
  function draw() {
    const from = state.page * PAGE, shown = found.slice(from, from + PAGE);
    body.replaceChildren(...shown.flatMap(rowOf));
    if (!shown.length) body.append(el('tr', {}, el('td', { colspan: columns.length + 1, class: 'muted empty' }, 'Nothing here fits.')));
    const all = found.length === rows.length ? '' : ` (of ${rows.length.toLocaleString('en')})`;
    status.textContent = shown.length ? `${(from + 1).toLocaleString('en')}–${(from + shown.length).toLocaleString('en')} of ${found.length.toLocaleString('en')}${all}` : `0 of ${rows.length.toLocaleString('en')}`;
    back.disabled = !state.page;
    next.disabled = from + PAGE >= found.length;
    heads.forEach((head, index) => {
      if (!columns[index].sort) return;
      const own = state.sort === index;
      head.setAttribute('aria-sort', own ? (state.down ? 'descending' : 'ascending') : 'none');
      head.querySelector('.arrow').textContent = own ? (state.down ? ' ↓' : ' ↑') : '';
    });
  }
  function rowOf(row) {
    const id = newId('row');
    const more = el('tr', { class: 'more', id, hidden: true });
    const own = newId('of'), name = newId('of');
    const toggle = el('button', { type: 'button', class: 'toggle', id: own, 'aria-expanded': 'false', 'aria-controls': id, 'aria-labelledby': `${own} ${name}` }, hidden('Details'));
    const flip = () => {
      const opened = toggle.getAttribute('aria-expanded') !== 'true';
      if (opened && !more.firstChild) more.append(el('td', { colspan: columns.length + 1 }, open(row)));
      toggle.setAttribute('aria-expanded', String(opened));
      more.hidden = !opened;
    };
    toggle.addEventListener('click', (event) => { event.stopPropagation(); flip(); });
    const line = el('tr', { class: 'row', on: { click: (event) => { if (!event.target.closest('button,a') && !String(window.getSelection())) flip(); } } },
      el('td', { class: 'open' }, toggle),
      columns.map((column, index) => el(index === 1 ? 'th' : 'td', { class: column.kind, scope: index === 1 ? 'row' : null, id: index === 1 ? name : null }, column.cell(row))));
    return [line, more];
  }
  function order(index) {
    if (state.sort !== index) { state.sort = index; state.down = false; } else if (!state.down) state.down = true; else state.sort = null;
    choose();
  }
  function turn(step) {
    state.page += step;
    draw();
    root.querySelector('table').scrollIntoView({ block: 'start' });
  }
  // What a search looks through is made when somebody is about to search, bit by bit.
  const prepare = (from) => {
    rows.slice(from, from + 250).forEach(lower);
    if (from + 250 < rows.length) setTimeout(() => prepare(from + 250));
  };
  search.addEventListener('focus', () => prepare(0), { once: true });
  let waiting;
  search.addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(() => { state.words = search.value; choose(); }, 80); });

  const chips = (filter, index) => {
    const name = newId('filter');
    return el('fieldset', { class: 'chips' }, el('legend', { class: 'sr' }, filter.label), filter.choices.map(([value, label, count]) => {
      const input = el('input', { type: 'radio', name, value, checked: state.chosen[index] === value, on: { change: () => { state.chosen[index] = value; choose(); } } });
      return el('label', {}, input, el('span', {}, label, count === null ? null : el('span', { class: 'count' }, ` ${count.toLocaleString('en')}`)));
    }));
  };
  const list = (filter, index) => {
    const select = el('select', { 'aria-label': filter.label, on: { change: () => { state.chosen[index] = select.value; choose(); } } },
      filter.choices.map(([value, label]) => el('option', { value, selected: state.chosen[index] === value }, label)));
    filter.set = (value) => { select.value = value; state.chosen[index] = value; choose(); };
    return select;
  };
  const root = el('div', { class: 'big' },
    el('div', { class: 'tools' }, (filters || []).map((filter, index) => (index ? list : chips)(filter, index)), search),
    el('div', { class: 'scroll' }, el('table', { class: 'examples' },
      el('caption', { class: 'sr' }, caption),
      el('thead', {}, el('tr', {}, el('td', { class: 'open' }, hidden('open')), heads)), body)),
    el('div', { class: 'pager' }, status, el('span', {}, back, ' ', next)));
  choose();
  root.search = search;
  return root;
}
