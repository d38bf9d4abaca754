// Says which tests passed, and fails if one does not any more that did: see http-cache-tests beside this.
import fs from 'fs'
import suites from './package/tests/index.mjs'
import surrogate from './package/tests/surrogate-control.mjs'

const [results, list, write] = process.argv.slice(2)
const found = JSON.parse(fs.readFileSync(results))
const tests = new Map()
for (const suite of [...suites, surrogate]) for (const test of suite.tests) if (!test.browser_only) tests.set(test.id, test)

// What a test depends on has to pass, as the suite's own pages have it: else it may pass by chance.
const passed = id => found[id] === true && (tests.get(id).depends_on || []).every(passed)
const kinds = { required: [], optimal: [], check: [] }
for (const [id, test] of tests) kinds[test.kind || 'required'].push(id)
for (const [kind, ids] of Object.entries(kinds)) {
  console.log(`${kind}: ${ids.filter(passed).length} of ${ids.length}`)
  for (const id of ids.filter(id => !passed(id))) {
    const why = found[id] === true ? 'a test that it depends on does not pass' : found[id] ? found[id].join(': ') : 'it was not run'
    if (kind !== 'check') console.log(`  ${id}: ${why}`)
  }
}
const now = [...tests.keys()].filter(passed).sort()
if (write === '--write') {
  fs.writeFileSync(list, now.join('\n') + '\n')
} else {
  const before = fs.readFileSync(list, 'utf8').trim().split('\n')
  const lost = before.filter(id => !now.includes(id))
  for (const id of lost) console.log(`LOST: ${id}: ${found[id]}`)
  const won = now.filter(id => !before.includes(id))
  if (won.length) console.log(`not in the list yet: ${won.join(' ')}`)
  if (lost.length) process.exit(1)
}
