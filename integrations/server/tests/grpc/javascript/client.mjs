// Qdrant's gRPC client for JavaScript, which compresses what it sends, against the server whose
// port for gRPC is the first argument.

import assert from 'node:assert/strict';
import {before, test} from 'node:test';

import {ConnectErrorCode, Distance, QdrantClient} from '@qdrant/js-client-grpc';

const port = Number(process.argv[2]);
const client = new QdrantClient({host: '127.0.0.1', port, apiKey: 's3cret', https: false});
const points = client.api('points');
const collections = client.api('collections');
const CITIES = [[1, 'Berlin', [1, 0]], [2, 'London', [0.8, 0.6]], [3, 'Moscow', [0, 1]]];

const number = (id) => ({pointIdOptions: {case: 'num', value: BigInt(id)}});
const text = (value) => ({kind: {case: 'stringValue', value}});
const dense = (data) => ({vectorsOptions: {case: 'vector', value: {vector: {case: 'dense', value: {data}}}}});
const near = (data) => ({variant: {case: 'nearest', value: {variant: {case: 'dense', value: {data}}}}});
const all = {selectorOptions: {case: 'enable', value: true}};

before(async () => {
    const config = {case: 'params', value: {size: 2n, distance: Distance.Cosine}};
    const made = await collections.create({collectionName: 'cities', vectorsConfig: {config}});
    assert.equal(made.result, true);
    await points.upsert({
        collectionName: 'cities',
        wait: true,
        points: CITIES.map(([id, name, vector]) => ({
            id: number(id), vectors: dense(vector), payload: {city: text(name)},
        })),
    });
});

test('it finds the version compatible', async () => {
    const found = await client.api('service').healthCheck({});
    assert.match(found.version, /^1\.\d+\.\d+/);
});

test('points are found by vectors and filters, with all that they have', async () => {
    const condition = {conditionOneOf: {case: 'field', value: {
        key: 'city', match: {matchValue: {case: 'keyword', value: 'Moscow'}},
    }}};
    const {result} = await points.query({
        collectionName: 'cities', query: near([0, 1]), filter: {mustNot: [condition]},
        withPayload: all, withVectors: all,
    });
    assert.deepEqual(result.map((hit) => Number(hit.id.pointIdOptions.value)), [2, 1]);
    assert.equal(result[0].payload.city.kind.value, 'London');
    assert.ok(Math.abs(result[0].score - 0.6) < 1e-6);
    const {vector} = result[1].vectors.vectorsOptions.value;
    assert.deepEqual([vector.case, [...vector.value.data]], ['dense', [1, 0]]);
});

test('requests of older clients are answered', async () => {
    const {result} = await points.search({collectionName: 'cities', vector: [0, 1], limit: 1n});
    assert.equal(result[0].id.pointIdOptions.value, 3n);
});

test('pages, counts and deletes', async () => {
    const page = await points.scroll({collectionName: 'cities', limit: 2});
    assert.equal(page.nextPageOffset.pointIdOptions.value, 3n);
    const ids = {pointsSelectorOneOf: {case: 'points', value: {ids: [number(3)]}}};
    await points.delete({collectionName: 'cities', wait: true, points: ids});
    const {result} = await points.count({collectionName: 'cities', exact: true});
    assert.equal(result.count, 2n);
});

test('a large batch comes whole', async () => {
    const value = 'a'.repeat(10_000);
    const many = [...Array(500).keys()].map((i) => ({
        id: number(1000 + i), vectors: dense([i, 1]), payload: {text: text(value + i)},
    }));
    await points.upsert({collectionName: 'cities', wait: true, points: many});
    const found = await points.get({collectionName: 'cities', ids: [number(1499)], withPayload: all});
    assert.equal(found.result[0].payload.text.kind.value, `${value}499`);
});

test('refusals have the codes of a server', async () => {
    const refused = (call, code) => assert.rejects(call, (error) => error.code === code);
    await refused(points.count({collectionName: 'none'}), ConnectErrorCode.NotFound);
    await refused(points.query({collectionName: 'cities', query: near([1])}), ConnectErrorCode.InvalidArgument);
    const other = new QdrantClient({host: '127.0.0.1', port, checkCompatibility: false});
    await refused(other.api('collections').list({}), ConnectErrorCode.Unauthenticated);
});
