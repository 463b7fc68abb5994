"""A chain file with all that one may have; and broken ones, with all that is said of each.

The files that they name are made in test_loader.py. Each message is judged as somebody reads it who has never seen a
chain file.
"""

# ruff: noqa: E501

from __future__ import annotations

S = "inputs:\n  m: string\nsteps:\n"
"""How most of them begin."""

FINE = """\
description: All that a chain may have.
model: local/smollm2
params: {temperature: 0, max_tokens: 200, stop: [END]}
inputs:
  message: string, what the customer wrote
  tags?(array): string
steps:
  intent:
    instructions: Decide.
    prompt: "{{ message }}"
    output: [yes, no]
    demos: [{inputs: {message: Hi}, output: yes, reasoning: It is.}]
    format: text
    freeze: [instructions]
    retry: 2
  each:
    for_each: {in: "{{ tags or [] }}", as: tag, concurrency: 2, on_error: skip}
    prompt: "{{ index }} {{ tag }} {{ intent.upper() }}"
    output: {price: number, why?: string, (*): any}
    model: openai/gpt-5-mini
    fallbacks: [local/smollm2, {model: openai/gpt-5, on: [error, refusal]}]
    retry: {errors: 1, parse: 2, assert: 1}
    assert: [{type: not-contains, value: x, context: goes}]
  help:
    retrieve: {from: [docs/*.md], query: "{{ message }}", top_k: 2, mode: lexical}
  fix:
    python: support.tools:fix
    inputs: {rows: "{{ each }}", n: 3}
    needs: [help]
    timeout: 1.5
  other:
    chain: other
    inputs: {message: "{{ message }}"}
    when: intent == "yes" and each[0].price > 3
  reply:
    prompt: {file: reply.md}
    params: {temperature: 0.7}
    samples: 3
    select: majority
    reasoning: true
    tools: [{chain: look, name: look_up}]
    when: true
outputs:
  reply: "{{ other | default(reply) }} {% for page in help %}{{ page.title }}{% endfor %}{{ fix.x }}"
test:
  dataset: [a.jsonl, b.csv]
  assert: [{step: intent, type: equals, value: "{{ expected.intent }}", threshold: 0.5, weight: 2, metric: m}]
  gate: {min: 0.9}
  repeat: 3
  judge: openai/gpt-5
"""

# fmt: off
BROKEN: list[tuple[str, str | bytes, str]] = [
    # keys and kinds
    ("unknown key", "descripton: x\nsteps:\n  a:\n    prompt: x\n",
     "1:1: unknown key 'descripton'; did you mean 'description'?"),
    ("unknown key like no other", "foo: x\nsteps:\n  a:\n    prompt: x\n",
     "1:1: unknown key 'foo'; known keys: description, model, params, inputs, steps, outputs, test, compile"),
    ("key of the file's name", "name: x\nsteps:\n  a:\n    prompt: x\n",
     "1:1: unknown key 'name'; a chain is named by its file; remove the key"),
    ("steps misspelt", "step:\n  a:\n    prompt: x\n",
     "1:1: unknown key 'step'; did you mean 'steps'?"),
    ("no steps", "inputs:\n  m: string\n",
     "1:1: the chain has no 'steps'; add at least one step with a prompt"),
    ("steps empty", 'steps:\noutputs:\n  r: "{{ a }}"\n',
     '1:7: \'steps\' must be a mapping of names to steps, not empty; for example steps: {reply: {prompt: "Hello"}}'),
    ("steps a list", "steps:\n  - prompt: x\n",
     '2:3: \'steps\' must be a mapping of names to steps, not a list; for example steps: {reply: {prompt: "Hello"}}'),
    ("inputs a list", 'inputs: [m]\nsteps:\n  a:\n    prompt: "{{ m }}"\n',
     "1:9: 'inputs' must be a mapping of names, not a list; for example inputs: {message: string}"),
    ("outputs a list", "steps:\n  a:\n    prompt: x\noutputs: [a]\n",
     '4:10: \'outputs\' must be a mapping of names to templates, not a list; for example outputs: {reply: "{{ reply }}"}'),
    ("inputs misspelt", 'input:\n  m: string\nsteps:\n  a:\n    prompt: "{{ m }}"\n',
     "1:1: unknown key 'input'; did you mean 'inputs'?"),
    ("kind misspelt", S + '  a:\n    promt: "{{ m }}"\n',
     "5:5: unknown key 'promt'; did you mean 'prompt'?"),
    ("other kind misspelt", S + '  a:\n    retreive: {from: x.md, query: "{{ m }}"}\n    top_k: 3\n',
     "5:5: unknown key 'retreive'; did you mean 'retrieve'?\n"
     "6:5: unknown key 'top_k'; known keys: prompt, retrieve, python, chain"),
    ("no kind", S + "  a:\n    output: string\n",
     '4:3: step \'a\' has none of the keys prompt, retrieve, python, chain; give it one, for example prompt: "{{ message }}"'),
    ("two kinds", S + '  a:\n    prompt: "{{ m }}"\n    python: x:y\n    inputs: {q: 1}\n',
     "6:5: a step cannot be 'prompt' and 'python' at once; make two steps of it"),
    ("key of another kind", S + "  a:\n    python: x:y\n    instructions: z\n",
     "6:5: unknown key 'instructions' in a python step; known keys: description, output, when, for_each, needs, retry, timeout, assert, python, inputs"),
    ("step empty", "steps:\n  a:\n",
     '2:5: step \'a\' must be a mapping, not empty; write below it, indented deeper: prompt: "{{ message }}"'),
    ("step a text", "steps:\n  a: Hello\n",
     '2:6: step \'a\' must be a mapping, not a text (\'Hello\'); write below it, indented deeper: prompt: "{{ message }}"'),
    ("space missing", 'steps:\n  a:\n    prompt:"x"\n',
     '3:5: step \'a\' must be a mapping, not a text (\'prompt:"x"\'); write \': \' after \'prompt\''),
    ("step not indented", "steps:\n  a:\n  prompt: x\n",
     '2:5: step \'a\' must be a mapping, not empty; write below it, indented deeper: prompt: "{{ message }}"\n'
     "3:11: step 'prompt' must be a mapping, not a text ('x'); indent 'prompt' deeper, below the step that it belongs to"),
    ("retrieve without a source", S + '  a:\n    retrieve: {query: "{{ m }}"}\n',
     '5:15: \'retrieve\' needs exactly one of \'from\', \'python\' and \'url\'; for example retrieve: {from: docs/*.md, query: "{{ message }}"}'),
    ("retrieve nothing", S + '  a:\n    retrieve: {from: ["none/*.md", x.rst], query: "{{ m }}"}\n',
     "5:22: no file fits 'none/*.md', 'x.rst'; patterns count from the folder 'chains'"),
    ("a chain behind a link", S + "  a:\n    chain: linked\n",
     "5:12: the chain 'linked' lies outside the project; copy it into the project"),
    ("an image that no model sees", S + "  a:\n    prompt: '{{ m | image }}{{ m | file }}'\n  b:\n    python: x:y\n    inputs: {q: '{{ m | image }}'}\n"
     "  c:\n    prompt: x\n    instructions: 'Look: {{ m | file }}'\n    when: m | image\noutputs: {a: '{{ a | image }}'}\n",
     "8:25: the filter 'image' is for prompts, where a model sees it; here give the reference itself, without the filter\n"
     "11:33: the filter 'file' is for prompts, where a model sees it; here give the reference itself, without the filter\n"
     "12:15: the filter 'image' is for prompts, where a model sees it; here give the reference itself, without the filter\n"
     "13:22: the filter 'image' is for prompts, where a model sees it; here give the reference itself, without the filter"),
    ("retrieve a text", S + "  a:\n    retrieve: docs/*.md\n",
     '5:15: \'retrieve\' must be a mapping, not a text (\'docs/*.md\'); for example retrieve: {from: docs/*.md, query: "{{ message }}"}'),
    ("python without a function", S + "  a:\n    python: support.tools\n",
     "5:13: 'python' must be module:function, not 'support.tools'; for example python: support.tools:normalise"),
    # compile
    ("compile", S + '  a:\n    prompt: "{{ m }}"\ncompile:\n  optimiser: demos\n  optimizer: nearst\n  max_demo: 3\n  calls: -1\n  seed: x\n  steps: [a, aa]\n  teacher: ""\n  max_p: 0.9\n',
     "7:3: unknown key 'optimiser'; did you mean 'optimizer'?\n"
     "8:14: 'optimizer' must be one of auto, nearest, demos, format, instructions, not 'nearst'; did you mean 'nearest'?\n"
     "9:3: unknown key 'max_demo'; did you mean 'max_demos'?\n"
     "10:10: 'calls' must be at least 0, not -1\n"
     "11:9: 'seed' must be a whole number, not a text ('x')\n"
     "12:14: unknown step 'aa'; did you mean 'a'?\n"
     "13:12: 'teacher' is empty\n"
     "14:10: 'max_p' must be at most 0.5, not 0.9"),
    ("compile a text", S + '  a:\n    prompt: "{{ m }}"\ncompile: auto\n',
     "6:10: 'compile' must be a mapping, not a text ('auto'); for example compile: {optimizer: demos, calls: 600}"),
    ("compile steps a text", S + '  a:\n    prompt: "{{ m }}"\ncompile: {steps: a}\n',
     "6:18: 'steps' must be a list of steps, not a text ('a'); for example steps: [intent]"),
    ("split misspelt", S + '  a:\n    prompt: "{{ m }}"\ncompile:\n  split: {trian: 0.5, dev: 1}\n',
     "7:11: unknown key 'trian'; did you mean 'train'?\n"
     "7:28: 'dev' must be less than 1, not 1"),
    ("split of more than all", S + '  a:\n    prompt: "{{ m }}"\ncompile:\n  split: {train: 0.5}\n',
     "7:10: 'split' must add up to 1; for example split: {train: 0.4, dev: 0.3, test: 0.3}"),
    ("freeze misspelt", S + '  a:\n    prompt: "{{ m }}"\n    freeze: [demo]\n',
     "6:14: item 1 of 'freeze' must be one of instructions, demos, format, not 'demo'; did you mean 'demos'?"),
    # modifiers
    ("wrong types", S + "  a:\n    prompt: 5\n    instructions: [a]\n    when: [1]\n    for_each: 3\n    needs: b\n    retry: many\n    timeout: 30s\n    assert: yes\n    model: 4\n    params: [x]\n    fallbacks: gpt\n    tools: x\n    reasoning: maybe\n    samples: lots\n    demos: none\n    format: jsn\n    freeze: everything\n    description: [x]\n",
     '5:13: \'prompt\' must be a text or {file: PATH}, not a number; for example prompt: "{{ message }}"\n'
     "6:19: 'instructions' must be a text or {file: PATH}, not a list\n"
     '7:11: \'when\' must be an expression, true or false, not a list; for example when: intent == "refund"\n'
     '8:15: \'for_each\' must be an expression that gives a list, or a mapping with the key \'in\', not a number; for example for_each: {in: "{{ questions }}", as: question}\n'
     "9:12: 'needs' must be a list of steps, not a text ('b'); for example needs: [intent]\n"
     "10:12: 'retry' must be a number of tries, or a mapping such as {errors: 3, parse: 1}, not a text\n"
     "11:14: 'timeout' must be a number of seconds, not a text ('30s'); for example timeout: 30\n"
     "12:13: 'assert' must be a list of checks, not a text ('yes'); for example assert: [{type: contains, value: card}]\n"
     "13:12: 'model' must be the name of a model, not a number (4); for example model: local/smollm2\n"
     "14:13: 'params' must be a mapping, not a list; for example params: {temperature: 0}\n"
     "15:16: 'fallbacks' must be a list of models, not a text ('gpt'); for example fallbacks: [openai/gpt-5-mini]\n"
     "16:12: 'tools' must be a list, not a text ('x')\n"
     "17:16: 'reasoning' must be true or false, not a text ('maybe')\n"
     "18:14: 'samples' must be a whole number, not a text ('lots')\n"
     "19:12: 'demos' must be a list of examples, not a text ('none'); for example demos: [{inputs: {message: Hi}, output: greeting}]\n"
     "20:13: 'format' must be one of text, json, schema, not 'jsn'; did you mean 'json'?\n"
     "21:13: 'freeze' must be true, false or a list of instructions, demos, format, not a text ('everything')\n"
     "22:18: 'description' must be a text, not a list"),
    ("retry", S + "  a:\n    prompt: x\n    retry: {errors: -1, parse: 99, asert: 1}\n",
     "6:21: 'errors' must be at least 0, not -1\n"
     "6:32: 'parse' must be at most 20, not 99\n"
     "6:36: unknown key 'asert'; did you mean 'assert'?"),
    ("for_each without in", S + '  a:\n    prompt: "{{ question }}"\n    for_each: {as: question}\n',
     '6:5: \'for_each\' has no \'in\'; for example for_each: {in: "{{ questions }}", as: question}'),
    ("for_each misspelt", S + '  a:\n    prompt: "{{ item }}"\n    foreach: "{{ m }}"\n',
     "6:5: unknown key 'foreach' in a prompt step; did you mean 'for_each'?"),
    ("for_each item name", S + '  a:\n    prompt: x\n    for_each: {in: "[m]", as: m, on_error: fail}\n',
     "6:31: 'm' cannot be the item's name; choose a word that is no input and no step"),
    ("item in when", S + '  a:\n    prompt: "{{ item }} {{ index }}"\n    for_each: "{{ [m] }}"\n    when: item == 1\n',
     "7:11: step 'a' uses unknown input or step 'item'; 'item' is there only for the prompt; this is asked once, before the items"),
    ("fallbacks", S + "  a:\n    prompt: x\n    fallbacks: [{modle: x}, {model: y, on: [eror]}, 3]\n",
     "6:18: unknown key 'modle'; did you mean 'model'?\n"
     "6:45: item 1 of 'on' must be one of error, assertion, refusal, not 'eror'; did you mean 'error'?\n"
     "6:53: item 3 of 'fallbacks' must be a model, or a mapping with the key 'model', not a number; for example fallbacks: [openai/gpt-5-mini]"),
    ("demos", S + '  a:\n    prompt: "{{ m }}"\n    output: [x, y]\n    demos: [{inputs: {m: q}}, {inputs: {}, output: x}, {inputs: {m: q, z: 2}, output: z}, foo]\n',
     "7:13: item 1 of 'demos' has no 'output'; for example demos: [{inputs: {message: Hi}, output: greeting}]\n"
     "7:32: the demo gives no value for 'm'; the prompt uses it\n"
     "7:72: unknown input or step 'z'; known names: a, m\n"
     "7:87: the demo's output does not fit the step's output: 'z' is not one of x, y\n"
     "7:91: item 4 of 'demos' must be a mapping, not a text ('foo'); for example demos: [{inputs: {message: Hi}, output: greeting}]"),
    ("needs", S + "  first:\n    prompt: x\n  a:\n    prompt: x\n    needs: [a, frist, m]\n",
     "8:13: a step cannot need itself; remove it\n"
     "8:16: unknown step 'frist'; did you mean 'first'?\n"
     "8:23: 'm' is an input, and 'needs' names steps; remove it"),
    ("samples misspelt", S + "  a:\n    prompt: x\n    sample: 5\n    select: majority\n",
     "6:5: unknown key 'sample' in a prompt step; did you mean 'samples'?"),
    ("select of one", S + "  a:\n    prompt: x\n    select: majority\n",
     "6:13: there is nothing to select from with one sample; add, say, samples: 5"),
    ("format of an object", S + "  a:\n    prompt: x\n    output: {q: number}\n    format: text\n",
     "7:13: the format 'text' cannot carry {q: number}; use json or schema, or leave it out"),
    ("secrets", S + "  a:\n    prompt: x\n    params: {headers: {Authorization: Bearer x}}\nparams: {api_key: sk-1, max_tokens: 5}\n",
     "6:24: a secret ('Authorization') does not belong in a chain file; remove it here and set the provider's variable, for example OPENAI_API_KEY, in the environment\n"
     "7:10: a secret ('api_key') does not belong in a chain file; remove it here and set the provider's variable, for example OPENAI_API_KEY, in the environment"),
    ("assertions", S + "  a:\n    prompt: x\n    assert: [{type: equal, value: y}, {value: y}, {type: not-equal}]\ntest:\n  asert: []\n  assert:\n    - {step: b, type: equals}\n    - equals\n",
     "6:21: unknown assertion 'equal'; did you mean 'equals'?\n"
     "6:39: item 2 of 'assert' has no 'type'; for example assert: [{type: contains, value: card}]\n"
     "6:58: unknown assertion 'not-equal'; did you mean 'not-equals'?\n"
     "8:3: unknown key 'asert'; did you mean 'assert'?\n"
     "10:14: unknown step 'b'; known steps: a\n"
     "10:23: 'equals' needs a value; value: what it should be\n"
     "11:7: item 2 of 'assert' must be a mapping, not a text ('equals'); for example assert: [{type: contains, value: card}]"),
    ("assertions that cannot say anything", S + "  a:\n    prompt: x\n    output: [yes, no]\n  n:\n    prompt: y\n    output: integer\ntest:\n  assert:\n    - {step: a, type: equals, value: yess}\n    - {step: n, type: is-sql}\n    - {step: a, type: contains-any, value: {b: 1}}\n    - {step: a, type: latency}\n    - {type: contains, value: x, treshold: 1}\n    - {type: contains, value: '{{ a'}\n    - {type: assert-set}\n    - {type: assert-set, assert: [{type: contans, value: x}]}\n    - {output: b, step: a, type: is-json}\n    - {type: equals, value: x, assert: [{type: is-json}]}\n  gate: {min: {b: 0.5}}\n",
     "12:38: step 'a' never gives 'yess'; did you mean 'yes'?\n"
     "13:23: 'is-sql' is for texts, and step 'n' gives integer; use equals\n"
     "14:44: 'contains-any' takes a list or a text, not a mapping\n"
     "15:23: 'latency' needs a threshold; threshold: the most that is allowed, in milliseconds\n"
     "16:34: unknown key 'treshold'; did you mean 'threshold'?\n"
     "17:31: in the template: '{{' is never closed; close it with '}}'\n"
     "18:14: an assert-set without assertions; assert: [{type: contains, value: card}]\n"
     "19:42: unknown assertion 'contans'; did you mean 'contains'?\n"
     "20:8: an assertion looks at a step or at an output, not at both; remove one\n"
     "21:32: only an assert-set has assertions of its own; type: assert-set\n"
     "22:16: unknown step or metric 'b'; known names: a, chain, n"),
    ("scores of passages that cannot be", S + "  h:\n    retrieve: {from: '*.md', query: '{{ m }}'}\n  a:\n    prompt: x\n  n:\n    prompt: y\n    output: integer\n  l:\n    prompt: z\n    output: {type: array, items: {type: string}}\ntest:\n  assert:\n    - {step: h, type: recall}\n    - {step: h, type: mrr, value: 3}\n    - {step: h, type: ndcg, value: a.md, k: 0}\n    - {step: h, type: recall, value: a.md, k: two}\n    - {step: h, type: contains, value: x, k: 2}\n    - {step: a, type: recall, value: a.md}\n    - {step: n, type: not-mrr, value: a.md}\n    - {step: l, type: recall, value: [a.md]}\n    - {step: a, type: recall, value: a.md, transform: '{{ h }}'}\n  gate: {min: {h recall: 1, l recall: 1}}\n",
     "16:23: 'recall' needs a value; value: a text or a list\n"
     "17:35: 'mrr' takes a text or a list, not a number\n"
     "18:45: must be a whole number from 1 up, not 0; k: 3 looks at the first three found\n"
     "19:47: must be a whole number from 1 up, not a text; k: 3 looks at the first three found\n"
     "20:43: 'contains' has no cut-off; 'k' is for recall, mrr, ndcg\n"
     "21:23: 'recall' is for passages, and step 'a' gives string; name a retrieve step, or one that gives a list of passages or of sources\n"
     "22:23: 'not-mrr' is for passages, and step 'n' gives integer; name a retrieve step, or one that gives a list of passages or of sources"),
    ("gate out of range", S + "  a:\n    prompt: x\ntest:\n  gate: {min: {chain: 2}, margin: -1}\n",
     "7:23: 'chain' must be at most 1, not 2\n7:35: 'margin' must be at least 0, not -1"),
    ("test a text", "steps:\n  a:\n    prompt: x\ntest: rows.jsonl\n",
     "4:7: 'test' must be a mapping, not a text ('rows.jsonl'); for example test: {dataset: rows.jsonl}"),
    # names and types
    ("unknown step", S + '  search:\n    prompt: "{{ m }}"\n  b:\n    prompt: |\n      Serch, serch:\n      {{ serch }} and {{ m }}\n',
     "9:10: step 'b' uses unknown input or step 'serch'; did you mean 'search'?"),
    ("unknown step in a folded text", S + "  b:\n    prompt: >\n      Hello\n      you\n\n      {{ n }}\n",
     "9:10: step 'b' uses unknown input or step 'n'; known names: m"),
    ("unknown step in an output", 'steps:\n  reply:\n    prompt: x\noutputs:\n  r: "{{ repli }}"\n  s: 5\n',
     "5:10: output 'r' uses unknown input or step 'repli'; did you mean 'reply'?\n"
     '6:6: output \'s\' must be a template, not a number; for example "{{ reply }}"'),
    ("unknown name in when", S + '  a:\n    prompt: x\n    when: mm == "x"\n',
     "6:11: step 'a' uses unknown input or step 'mm'; did you mean 'm'?"),
    ("unknown name in a step's inputs", S + '  a:\n    python: x:y\n    inputs: {q: "{{ n }}"}\n',
     "6:21: step 'a' uses unknown input or step 'n'; known names: m"),
    ("unknown field", S + '  a:\n    prompt: x\n    output: {amount: number, currency: string}\n  b:\n    prompt: "{{ a.amont }} {{ a[\'currency\'] }}"\n',
     "8:19: 'a' has no field 'amont'; did you mean 'amount'?"),
    ("field of an enum", S + '  a:\n    prompt: x\n    output: [yes, no]\n  b:\n    prompt: "{{ a.label }}"\n',
     "8:19: 'a' has no field 'label'; it is one of yes, no"),
    ("field of an input", S + '  b:\n    prompt: "{{ m.title }} {{ m.title() }}"\n',
     "5:19: 'm' has no field 'title'; 'title' is a method: call it, title()"),
    ("field of a loop", S + "  a:\n    prompt: x\n    output:\n      lines(array): {price: number}\n  b:\n    prompt: |\n      {% for line in a.lines %}\n      {{ line.prise }}\n      {% endfor %}\n",
     "11:15: 'a.lines[]' has no field 'prise'; did you mean 'price'?"),
    ("field of each", S + '  a:\n    prompt: x\n    for_each: "{{ [m] }}"\n    output: {q: number}\n  b:\n    prompt: "{{ a.q }} {{ a[0].r }}"\n',
     "9:19: 'a' has no field 'q'; it is {q: number}[]\n"
     "9:32: 'a[]' has no field 'r'; known fields: q"),
    ("loop over an object", S + '  a:\n    prompt: x\n    output: {q: number}\n  b:\n    prompt: "{% for l in a %}{{ l }}{% endfor %}"\n',
     "8:26: 'a' is no list; it is {q: number}"),
    ("for each of a text", S + '  a:\n    prompt: x\n    output: {q: number, many(array): string}\n  b:\n    prompt: x\n    for_each: "{{ m }}"\n  c:\n    prompt: x\n    for_each: {in: a.q}\n  d:\n    prompt: x\n    for_each: a.many\n  e:\n    prompt: x\n    for_each: "{{ m | list }}"\n',
     "9:19: `for_each` needs a list, and 'm' is none; it is string\n"
     "12:20: `for_each` needs a list, and 'a.q' is none; it is number"),
    ("itself", 'steps:\n  a:\n    prompt: "x {{ a }}"\n',
     "3:19: step 'a' uses its own output; it can use only steps before it"),
    ("circles", 'steps:\n  a:\n    prompt: "{{ c }}"\n  b:\n    prompt: "{{ a }}"\n  c:\n    prompt: "{{ b }}"\n  d:\n    prompt: "{{ e }}"\n  e:\n    prompt: "{{ d }}{{ e }}"\n',
     "2:3: the steps wait for each other: a → c → b → a; break the circle at one of them\n"
     "8:3: the steps wait for each other: d → e → d; break the circle at one of them\n"
     "11:24: step 'e' uses its own output; it can use only steps before it"),
    ("an input and a step", "inputs:\n  a: string\nsteps:\n  a:\n    prompt: x\n",
     "4:3: 'a' is an input and a step at once; rename one of them"),
    ("words of templates", "inputs:\n  loop?: string\nsteps:\n  range:\n    prompt: x\n  not:\n    prompt: y\n",
     "2:3: an input cannot be called 'loop': templates use that word; rename it\n"
     "4:3: a step cannot be called 'range': templates use that word; rename it\n"
     "6:3: a step cannot be called 'not': templates use that word; rename it"),
    ("a name with a dash", S + '  my-step:\n    prompt: x\n  b:\n    prompt: "{{ my-step }}"\n',
     "4:3: 'my-step' cannot be a step's name; use up to 64 letters (a-z), digits and _, and begin with a letter, so that templates can name it"),
    ("types", 'inputs:\n  m: strng, what\n  my-input: string\n  n:\nsteps:\n  a:\n    prompt: "{{ m }} {{ n }}"\n    output: {total: numbr, tax: nmber}\n  b:\n    prompt: "{{ a.total }}"\n    output: [x, x]\n',
     "2:6: unknown type 'strng'; did you mean 'string'?\n"
     "3:13: 'my-input' is not a field name; use letters, digits and underscores; the first is not a digit\n"
     "4:5: a type is text, a list or a mapping, not null; write 'string' or another type\n"
     "8:21: unknown type 'numbr'; did you mean 'number'?\n"
     "8:33: unknown type 'nmber'; did you mean 'number'?\n"
     "11:17: 'x' is in the enum twice"),
    # templates
    ("prompt empty", S + '  a:\n    prompt: ""\n    instructions: {}\n',
     '5:13: the prompt is empty; write the user message, for example "{{ message }}"\n'
     "6:19: 'instructions' must be a text or {file: PATH}, not a mapping"),
    ("filter", S + "  a:\n    prompt: |\n      Hi\n      {{ m | uper }}\n",
     "7:14: in the template: unknown filter 'uper'; did you mean 'upper'?"),
    ("syntax in a block", S + "  a:\n    prompt: |\n      Hi\n        {{ m + }}\n      there\n",
     "7:9: in the template: the expression ends too early"),
    ("if without end", S + "  a:\n    prompt: |\n      {% if m %}\n      yes\n",
     "7:7: in the template: '{% if %}' is never closed; add {% endif %}"),
    ("when with one =", S + "  a:\n    prompt: x\n    when: m = 3\n",
     "6:11: in the expression: unexpected '='; compare with '=='"),
    ("include", S + '  a:\n    prompt: "{% include \'x\' %}"\n',
     "5:13: in the template: a template cannot include another; use {file: …} for a whole prompt"),
    # files
    ("file missing", S + "  a:\n    prompt: {file: replly.md}\n",
     "5:20: the file 'replly.md': there is no such file; did you mean 'reply.md'?"),
    ("folder missing", S + "  a:\n    prompt: {file: nodir/x.md}\n",
     "5:20: the file 'nodir/x.md': there is no such file; the folder 'nodir' does not exist either"),
    ("file above the project", S + "  a:\n    prompt: {file: ../../x.md}\n",
     "5:20: '../../x.md' lies outside the project; copy it below proj/ and name it from there"),
    ("file by absolute path", S + "  a:\n    prompt: {file: /etc/passwd}\n",
     "5:20: '/etc/passwd' lies outside the project; copy it below proj/ and name it from there"),
    ("file behind a symlink", S + "  a:\n    prompt: {file: link.md}\n",
     "5:20: 'link.md' lies outside the project; copy it below proj/ and name it from there"),
    ("file that is a folder", S + "  a:\n    prompt: {file: sub}\n",
     "5:20: the file 'sub': this is a folder, not a file; name a file in it"),
    ("file that is empty", S + "  a:\n    prompt: {file: empty.md}\n",
     "5:20: the file 'empty.md' is empty; write the text into it"),
    ("file without a name", S + '  a:\n    prompt: {file: ""}\n',
     "5:20: 'file' is empty; for example {file: support/reply.md}"),
    ("file key misspelt", S + "  a:\n    prompt: {flie: reply.md}\n",
     "5:14: unknown key 'flie'; did you mean 'file'?"),
    ("file and text", S + "  a:\n    prompt: {file: reply.md, text: x}\n",
     "5:30: unknown key 'text'; write the text itself, or only {file: …}"),
    ("file not in UTF-8", S + "  a:\n    prompt: {file: latin.md}\n",
     "chains/latin.md:2:3: byte 0xe9 is not UTF-8; save the file with the encoding UTF-8"),
    ("file with a fault", S + "  a:\n    prompt: {file: syntax.md}\n  b:\n    prompt: {file: unknown.md}\n",
     "chains/syntax.md:2:2: in the template: a name is missing before the end\n"
     "chains/unknown.md:2:11: step 'b' uses unknown input or step 'mm'; did you mean 'm'?"),
    ("file of another world", S + '  a:\n    prompt: {file: "a\\0b"}\n  b:\n    prompt: {file: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}\n',
     "5:20: 'a\\x00b' is no path of a file; name a file below the chain's folder\n"
     "7:20: the file 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…': cannot be read: File name too long"),
    # YAML
    ("empty", "",
     '1:1: the file is empty; a chain needs at least: steps: {reply: {prompt: "Hello"}}'),
    ("a list", "- a\n",
     '1:1: a chain file is a mapping with the key \'steps\', not a list; for example: steps: {reply: {prompt: "Hello"}}'),
    ("a text", "hello\n",
     '1:1: a chain file is a mapping with the key \'steps\', not a text; for example: steps: {reply: {prompt: "Hello"}}'),
    ("quotes forgotten", S + "  a:\n    prompt: {{ m }}\n",
     '5:14: YAML reads \'{{\' outside of quotes as the start of a mapping; put the template in quotes: "{{ … }}", or in a block after \'|\''),
    ("indented by a tab", "steps:\n	a:\n",
     "2:1: a tab indents this line; YAML indents with spaces only"),
    ("key twice", "steps:\n  a:\n    prompt: x\n  a:\n    prompt: x\n",
     "4:3: the key 'a' is here twice, first in line 2; remove one of them"),
    ("windows line ends", "inputs:\r\n  m: string\r\nsteps:\r\n  a:\r\n    prompt: |\r\n      x\r\n      {{ n }}\r\n",
     "7:10: step 'a' uses unknown input or step 'n'; known names: m"),
    ("second document", "steps:\n  a:\n    prompt: x\n---\n",
     "4:1: a second document begins here; keep one chain to a file; remove the '---'"),
    ("a tag", "steps: !x\n  a:\n    prompt: x\n",
     "1:8: the tag '!x' is not allowed here; remove it, or put a text that begins with '!' in quotes"),
    ("not in UTF-8", "steps:\n  a:\n    prompt: café\n".encode("latin-1"),
     "3:16: byte 0xe9 is not UTF-8; save the file with the encoding UTF-8"),
    ("NUL", "steps:\n  a:\n    prompt: x\0\n",
     "3:14: character U+0000 is not allowed in YAML; remove it"),
    ("too large", "description: " + "x" * 10_000_000,
     " the file has 9.5 MiB, more than the 1 MiB that are read; keep long texts in files of their own ({file: …}) and rows in a dataset"),
    ("nested too deep", "steps: " + "[" * 100 + "]" * 100,
     "1:72: values are nested more than 64 deep; flatten the file"),
    ("aliases of aliases", "a: &a [x, x]\n" + "".join(f"b{i}: &a [*a, *a]\n" for i in range(40)),
     "15:10: aliases expand to more than 100,000 values; write the values out, or fewer"),
    ("too many steps", "steps:\n" + "".join(f"  s{i}: {{prompt: x}}\n" for i in range(3000)),
     "2:3: 'steps' has more than 2,000 entries; split the chain into several"),
    ("a template too deep", S + '  a:\n    prompt: "{{ ' + "(" * 25_000 + "m" + ")" * 25_000 + ' }}"\n',
     "5:13: in the template: the template is nested too deep"),
    ("a template too long", S + '  a:\n    prompt: "{{ m' + " ~ m" * 12_500 + ' + q }}"\n',
     "5:50021: step 'a' uses unknown input or step 'q'; known names: m"),
]
