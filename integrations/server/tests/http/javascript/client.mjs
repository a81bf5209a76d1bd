// Qdrant's client for JavaScript against the server whose URL is the first argument.

import assert from 'node:assert/strict';
import {createHash} from 'node:crypto';
import {after, before, test} from 'node:test';

import {QdrantClient, QdrantClientResourceExhaustedError} from '@qdrant/js-client-rest';

const url = process.argv[2];
const client = new QdrantClient({url});
const UUID = '5c56c793-69f3-4fbf-87e6-c4bf54c28c26';
const CITIES = [
    {id: 1, vector: [1, 0], payload: {city: 'Berlin', population: 3.7, tags: ['big', 'east']}},
    {id: 2, vector: [0.8, 0.6], payload: {city: 'London', population: 9, tags: ['big', 'west']}},
    {id: 3, vector: [0, 1], payload: {city: 'Moscow', population: 13, tags: ['big', 'east']}},
    {id: UUID, vector: [-1, 0], payload: {city: 'Bonn', population: 0.3, tags: ['west']}},
];

const ids = (points) => points.map((point) => point.id);
const match = (key, value) => ({key, match: {value}});

/** Scores are those of float32. */
function isNear(actual, expected) {
    assert.ok(Math.abs(actual - expected) < 1e-6, `${actual} is not ${expected}`);
}

async function refused(promise, status, said) {
    await assert.rejects(promise, (error) => {
        assert.equal(error.status, status);
        assert.match(error.data.status.error, said);
        return true;
    });
}

before(async () => {
    assert.equal(
        await client.createCollection('cities', {
            vectors: {size: 2, distance: 'Cosine'},
            sparse_vectors: {words: {modifier: 'idf'}},
        }),
        true,
    );
    const done = await client.upsert('cities', {points: CITIES});
    assert.equal(done.status, 'completed');
});

after(async () => {
    assert.equal(await client.deleteCollection('cities'), true);
    assert.equal((await client.collectionExists('cities')).exists, false);
});

test('it finds the version compatible', async () => {
    const found = await client.versionInfo();
    assert.match(found.title, /^qdrant/);
    assert.match(found.version, /^1\.\d+\.\d+/);
});

test('collections are made, described, changed and deleted', async () => {
    const name = 'named ü & #1%2F +';
    await client.createCollection(name, {
        vectors: {a: {size: 3, distance: 'Dot'}, b: {size: 2, distance: 'Euclid', on_disk: true}},
    });
    const {config, points_count, status} = await client.getCollection(name);
    assert.equal(status, 'green');
    assert.equal(points_count, 0);
    assert.deepEqual(config.params.vectors.a, {size: 3, distance: 'Dot'});
    assert.equal(config.params.vectors.b.on_disk, true);
    assert.ok((await client.getCollections()).collections.some((one) => one.name === name));
    assert.equal(await client.updateCollection(name, {strict_mode_config: {enabled: true}}), true);
    assert.equal((await client.getCollection(name)).config.strict_mode_config.enabled, true);
    await refused(client.createCollection(name, {vectors: {}}), 409, /already exists/);
    assert.equal(await client.recreateCollection(name, {vectors: {size: 1, distance: 'Dot'}}), true);
    assert.equal((await client.getCollection(name)).config.params.vectors.size, 1);
    await client.createVectorName(name, 'more', {dense: {size: 4, distance: 'Dot'}});
    assert.equal((await client.getCollection(name)).config.params.vectors.more.size, 4);
    assert.equal(await client.deleteCollection(name), true);
    assert.equal(await client.deleteCollection(name), false);
});

test('aliases lead to collections', async () => {
    const create_alias = {collection_name: 'cities', alias_name: 'towns'};
    assert.equal(await client.updateCollectionAliases({actions: [{create_alias}]}), true);
    assert.deepEqual((await client.getAliases()).aliases, [create_alias]);
    assert.deepEqual((await client.getCollectionAliases('cities')).aliases, [create_alias]);
    assert.equal((await client.count('towns')).count, 4);
    await client.updateCollectionAliases({actions: [{delete_alias: {alias_name: 'towns'}}]});
    await refused(client.count('towns'), 404, /doesn't exist/);
});

test('points are read, counted and scrolled', async () => {
    const found = await client.retrieve('cities', {ids: [UUID, 1, 77], with_vector: true});
    assert.deepEqual(new Set(ids(found)), new Set([UUID, 1]));
    assert.deepEqual(found.find((point) => point.id === 1), CITIES[0]);
    const big = {must: [match('tags', 'big')], must_not: [match('city', 'Moscow')]};
    assert.equal((await client.count('cities', {filter: big})).count, 2);
    const first = await client.scroll('cities', {limit: 3, with_payload: ['city']});
    assert.deepEqual(ids(first.points), [1, 2, 3]);
    assert.deepEqual(first.points[0].payload, {city: 'Berlin'});
    assert.equal(first.next_page_offset, UUID);
    const last = await client.scroll('cities', {offset: first.next_page_offset});
    assert.deepEqual(ids(last.points), [UUID]);
    assert.equal(last.next_page_offset, null);
});

test('filters choose what they say', async () => {
    const chosen = async (filter) => ids((await client.scroll('cities', {filter})).points);
    assert.deepEqual(await chosen({must: [{key: 'population', range: {gt: 3.7}}]}), [2, 3]);
    assert.deepEqual(await chosen({should: [match('city', 'Bonn'), {has_id: [3]}]}), [3, UUID]);
    assert.deepEqual(await chosen({must: {key: 'city', match: {any: ['Berlin', 'Bonn']}}}), [1, UUID]);
    assert.deepEqual(await chosen({must: {key: 'city', match: {except: ['Berlin']}}}), [2, 3, UUID]);
    assert.deepEqual(await chosen({must: [{is_empty: {key: 'nothing'}}]}), [1, 2, 3, UUID]);
    assert.deepEqual(await chosen({must: [{key: 'tags', values_count: {lt: 2}}]}), [UUID]);
    const two = [match('tags', 'big'), match('tags', 'east'), match('city', 'Bonn')];
    assert.deepEqual(await chosen({min_should: {conditions: two, min_count: 2}}), [1, 3]);
});

test('payload indexes are made, used for orders and facets, and deleted', async () => {
    await client.createPayloadIndex('cities', {
        field_name: 'population', field_schema: 'float', wait: true,
    });
    await client.createPayloadIndex('cities', {
        field_name: 'tags', field_schema: {type: 'keyword'}, wait: true,
    });
    const {payload_schema} = await client.getCollection('cities');
    assert.equal(payload_schema.population.data_type, 'float');
    assert.equal(payload_schema.tags.points, 4);
    const order_by = {key: 'population', direction: 'desc'};
    const {points} = await client.scroll('cities', {order_by, limit: 2});
    assert.deepEqual(points.map((point) => [point.id, point.order_value]), [[3, 13], [2, 9]]);
    const {hits} = await client.facet('cities', {key: 'tags'});
    assert.deepEqual(hits, [
        {value: 'big', count: 3}, {value: 'east', count: 2}, {value: 'west', count: 2},
    ]);
    assert.equal((await client.deletePayloadIndex('cities', 'tags')).status, 'completed');
    assert.deepEqual(Object.keys((await client.getCollection('cities')).payload_schema), ['population']);
});

test('queries of all kinds', async () => {
    const near = await client.query('cities', {query: [1, 0.1], limit: 2, with_payload: true});
    assert.deepEqual(ids(near.points), [1, 2]);
    assert.equal(near.points[0].payload.city, 'Berlin');
    assert.equal(near.points[0].vector, undefined);
    isNear(near.points[0].score, 1 / Math.sqrt(1.01));
    const byId = await client.query('cities', {query: 1, score_threshold: -0.5});
    assert.deepEqual(ids(byId.points), [2, 3]);
    const recommended = await client.query('cities', {
        query: {recommend: {positive: [1], negative: [UUID], strategy: 'best_score'}},
    });
    assert.deepEqual(ids(recommended.points), [2, 3]);
    const fused = await client.query('cities', {
        prefetch: [{query: [1, 0], limit: 2}, {query: [0, 1], limit: 2}],
        query: {fusion: 'rrf'},
    });
    assert.equal(fused.points[0].id, 2);
    const formula = {sum: [{mult: [-1, 'population']}]};
    const scored = await client.query('cities', {
        prefetch: {query: [1, 0], limit: 10}, query: {formula}, with_payload: ['population'],
    });
    assert.deepEqual(ids(scored.points), [UUID, 1, 2, 3]);
    isNear(scored.points[1].score, -3.7);
    const batch = await client.queryBatch('cities', {
        searches: [{query: [1, 0], limit: 1}, {query: [0, 1], limit: 1, with_vector: true}],
    });
    assert.deepEqual(batch.map(({points}) => points[0].id), [1, 3]);
    assert.deepEqual(batch[1].points[0].vector, [0, 1]);
    const sampled = await client.query('cities', {query: {sample: 'random'}, limit: 10});
    assert.equal(sampled.points.length, 4);
});

test('groups of queries', async () => {
    const {groups} = await client.queryGroups('cities', {
        query: [1, 0], group_by: 'tags', group_size: 1, limit: 2,
    });
    assert.deepEqual(groups.map((group) => [group.id, ids(group.hits)]).sort(), [['big', [1]], ['east', [1]]]);
    const looked = await client.queryGroups('cities', {
        query: [0, 1], group_by: 'city', group_size: 3, limit: 1, with_payload: true,
    });
    assert.equal(looked.groups[0].id, 'Moscow');
    assert.deepEqual(looked.groups[0].hits[0].payload, CITIES[2].payload);
});

test('searches as they were before queries', async () => {
    const found = await client.search('cities', {vector: [1, 0.1], limit: 2, with_vector: true});
    assert.deepEqual(ids(found), [1, 2]);
    assert.deepEqual(found[0].vector, [1, 0]);
    assert.deepEqual(found[0].payload, CITIES[0].payload);
    const filter = {must: [match('tags', 'west')]};
    const searches = [{vector: [1, 0], limit: 1}, {vector: [1, 0], limit: 5, filter}];
    assert.deepEqual((await client.searchBatch('cities', {searches})).map(ids), [[1], [2, UUID]]);
    const byGroup = await client.searchPointGroups('cities', {
        vector: [1, 0], group_by: 'city', group_size: 1, limit: 2,
    });
    assert.deepEqual(byGroup.groups.map((group) => group.id), ['Berlin', 'London']);
    assert.deepEqual(ids(await client.recommend('cities', {positive: [1], negative: [UUID]})), [2, 3]);
    const recommendations = {searches: [{positive: [3], limit: 1}, {positive: [[-1, 0.1]], limit: 1}]};
    assert.deepEqual((await client.recommendBatch('cities', recommendations)).map(ids), [[2], [UUID]]);
    const grouped = await client.recommendPointGroups('cities', {
        positive: [1], group_by: 'city', group_size: 1, limit: 1,
    });
    assert.deepEqual(grouped.groups.map((group) => group.id), ['London']);
    const context = [{positive: 2, negative: UUID}];
    assert.deepEqual(ids(await client.discoverPoints('cities', {target: [0, 1], context, limit: 1})), [3]);
    const discoveries = {searches: [{target: 3, context, limit: 1}, {context, limit: 1}]};
    const discovered = await client.discoverBatchPoints('cities', discoveries);
    assert.deepEqual(ids(discovered[0]), [1]);
    assert.equal(discovered[1][0].score, 0);
});

test('distances of all to each other', async () => {
    const pairs = await client.searchMatrixPairs('cities', {sample: 10, limit: 1});
    assert.deepEqual(pairs.pairs.map(({a, b}) => [a, b]), [[1, 2], [2, 1], [3, 2], [UUID, 3]]);
    const offsets = await client.searchMatrixOffsets('cities', {sample: 10, limit: 1});
    assert.deepEqual(offsets.ids, [1, 2, 3, UUID]);
    assert.deepEqual(offsets.offsets_row, [0, 1, 2, 3]);
    isNear(offsets.scores[0], 0.8);
});

test('writes of all kinds', async () => {
    await client.createCollection('written', {
        vectors: {a: {size: 2, distance: 'Dot'}}, sparse_vectors: {s: {}},
    });
    const at = async (id) => (await client.retrieve('written', {ids: [id], with_vector: true}))[0];
    await client.upsert('written', {
        batch: {ids: [1, 2, 3], vectors: {a: [[1, 2], [3, 4], [5, 6]]}, payloads: [{n: 1}, null, {n: 3}]},
    });
    await client.updateVectors('written', {
        points: [{id: 2, vector: {s: {indices: [7, 9], values: [0.5, 2]}}}],
    });
    assert.deepEqual((await at(2)).vector, {a: [3, 4], s: {indices: [7, 9], values: [0.5, 2]}});
    await client.deleteVectors('written', {points: [2], vector: ['a']});
    assert.deepEqual(Object.keys((await at(2)).vector), ['s']);
    await client.setPayload('written', {payload: {deep: {er: [1, {x: null}]}}, points: [1, 2]});
    await client.setPayload('written', {payload: {y: 'ü\u0000😀'}, key: 'deep', filter: {must: [match('n', 1)]}});
    assert.deepEqual((await at(1)).payload, {n: 1, deep: {er: [1, {x: null}], y: 'ü\u0000😀'}});
    await client.overwritePayload('written', {payload: {only: 2 ** 53 - 1}, points: [2]});
    assert.deepEqual((await at(2)).payload, {only: 2 ** 53 - 1});
    await client.deletePayload('written', {keys: ['deep.er', 'n'], points: [1]});
    assert.deepEqual((await at(1)).payload, {deep: {y: 'ü\u0000😀'}});
    await client.clearPayload('written', {points: [1]});
    assert.deepEqual((await at(1)).payload, {});
    const done = await client.batchUpdate('written', {
        operations: [
            {upsert: {points: [{id: 4, vector: {}, payload: {k: 4}}]}},
            {set_payload: {payload: {k: 5}, points: [4]}},
            {delete: {points: [1]}},
        ],
    });
    assert.deepEqual(done.map((one) => one.status), ['completed', 'completed', 'completed']);
    assert.deepEqual((await at(4)).payload, {k: 5});
    const later = await client.delete('written', {filter: {must: [match('n', 3)]}, wait: false});
    assert.equal(later.status, 'acknowledged');
    await client.delete('written', {points: [77], wait: true});
    assert.deepEqual(ids((await client.scroll('written')).points), [2, 4]);
    await client.deleteCollection('written');
});

test('the server embeds texts', async () => {
    const texts = ['the quick brown fox', 'a lazy dog'];
    const embedded = (text) => ({words: {text, model: 'qdrant/bm25'}});
    await client.updateVectors('cities', {
        points: texts.map((text, i) => ({id: i + 1, vector: embedded(text)})),
    });
    const found = await client.query('cities', {
        query: {text: 'foxes', model: 'qdrant/bm25'}, using: 'words',
    });
    assert.deepEqual(ids(found.points), [1]);
    assert.ok(found.points[0].score > 0);
});

test('what is wrong is refused, and nothing is written', async () => {
    await refused(client.getCollection('nothing'), 404, /Collection `nothing` doesn't exist/);
    await refused(client.query('cities', {query: [1, 2, 3]}), 400, /dimension/i);
    await refused(client.query('cities', {query: [1, 2], using: 'other'}), 400, /other/);
    await refused(client.query('cities', {query: {nearest: 'x'}}), 400, /point ID/);
    await refused(client.upsert('cities', {points: [{id: -1, vector: [1, 0]}]}), 400, /ID/);
    const points = [{id: 9, vector: [1, 0]}, {id: 10, vector: [1]}];
    await refused(client.upsert('cities', {points}), 400, /dimension/i);
    await refused(client.scroll('cities', {filter: {musst: []}}), 400, /musst/);
    await refused(client.query('cities', {query: [1, 0], limit: 0}), 422, /limit/);
    assert.equal((await client.count('cities')).count, 4);
    const noServer = new QdrantClient({url: 'http://127.0.0.1:9', checkCompatibility: false});
    await assert.rejects(noServer.getCollections(), /fetch failed/);
});

test('a rate of requests is told with the time to wait', async () => {
    await client.createCollection('slow', {
        vectors: {size: 1, distance: 'Dot'},
        strict_mode_config: {enabled: true, read_rate_limit: 1},
    });
    await client.scroll('slow');
    await assert.rejects(client.scroll('slow'), (error) => {
        assert.ok(error instanceof QdrantClientResourceExhaustedError);
        assert.ok(error.retry_after > 0 && error.retry_after <= 60);
        return true;
    });
    await client.deleteCollection('slow');
});

test('snapshots are made, listed, downloaded, uploaded and recovered', async () => {
    const made = await client.createSnapshot('cities');
    const [listed, ...others] = await client.listSnapshots('cities');
    assert.deepEqual(listed, made);
    assert.deepEqual(others, []);
    const answer = await fetch(`${url}/collections/cities/snapshots/${made.name}`);
    assert.equal(answer.status, 200);
    const file = await answer.arrayBuffer();
    assert.equal(file.byteLength, made.size);
    const sum = createHash('sha256').update(Buffer.from(file)).digest('hex');
    assert.equal(sum, made.checksum);

    const upload = async (query) => {
        const form = new FormData();
        form.append('snapshot', new Blob([file]), made.name);
        const to = `${url}/collections/copied/snapshots/upload?${query}`;
        return fetch(to, {method: 'POST', body: form});
    };
    const refusedUpload = await upload(`wait=true&checksum=${'0'.repeat(64)}`);
    assert.equal(refusedUpload.status, 400);
    assert.equal((await client.collectionExists('copied')).exists, false);
    const uploaded = await upload(`wait=true&priority=snapshot&checksum=${sum}`);
    assert.deepEqual([uploaded.status, (await uploaded.json()).result], [200, true]);
    const all = {limit: 10, with_vector: true};
    assert.deepEqual(await client.scroll('copied', all), await client.scroll('cities', all));

    await client.delete('cities', {points: [1, 2], wait: true});
    assert.equal(await client.recoverSnapshot('cities', {location: made.name, checksum: sum}), true);
    assert.deepEqual(await client.scroll('cities', all), await client.scroll('copied', all));
    await refused(client.recoverSnapshot('cities', {location: 'file:///etc/passwd'}), 403, /directory/);
    assert.equal(await client.deleteSnapshot('cities', made.name), true);
    assert.deepEqual(await client.listSnapshots('cities'), []);
    await refused(client.deleteSnapshot('cities', made.name), 404, /not found/i);

    const full = await client.createFullSnapshot();
    assert.deepEqual(await client.listFullSnapshots(), [full]);
    const tar = await fetch(`${url}/snapshots/${full.name}`);
    assert.equal((await tar.arrayBuffer()).byteLength, full.size);
    assert.equal(await client.deleteFullSnapshot(full.name), true);
    await client.deleteCollection('copied');
});

test('what only a cluster has', async () => {
    const found = await client.collectionClusterInfo('cities');
    assert.equal(found.local_shards.length, 1);
    assert.equal(found.local_shards[0].points_count, 4);
    await refused(client.createShardKey('cities', {shard_key: 'a'}), 405, /standalone/);
});
