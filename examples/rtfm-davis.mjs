// Anomaly detection end to end, without features of anyone else's: footage of DAVIS-2016 -> features of a MobileNet trained
// on ImageNet -> bags of which only is known whether something odd is in them -> RTFM -> a score for every frame.
//   node examples/rtfm-davis.mjs --davis DAVIS-2016 --weights mobilenet_v1_imagenet.safetensors --out DIR [--seeds 5]
// DIR then holds the features (made once) and the bags; with another program's training on the same bags to compare with:
//   python bench/peers/rtfm.py --bags DIR/bags --seeds 5
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { data, features, Network, networks, RTFM } from 'torchvid'

const { values } = parseArgs({
  options: {
    davis: { type: 'string' },
    weights: { type: 'string' },
    out: { type: 'string', default: 'rtfm-davis' },
    seeds: { type: 'string', default: '5' },
    draw: { type: 'string', default: '0' }, // another number, other bags of the same sequences
  },
})
if (!values.davis || !values.weights) {
  console.error('Wanted: --davis DAVIS-2016 --weights mobilenet_v1_imagenet.safetensors')
  process.exit(2)
}

/**
 * Normal is what people and animals do, abnormal is a vehicle. The split is made by category: the kinds of vehicle that
 * the detector is tested on are in no training video, and neither are the kinds of animals and people among which they
 * come. So it has to learn what vehicles have in common, and cannot know a sequence again.
 */
const categories = {
  train: {
    normal: {
      large: ['bear', 'elephant', 'rhino'],
      riders: ['horsejump-high', 'horsejump-low', 'bmx-bumps', 'bmx-trees'],
      boards: ['kite-walk', 'paragliding', 'rollerblade', 'surf', 'swing'],
      games: ['hockey', 'soccerball', 'tennis'],
      walkers: ['hike', 'lucia', 'stroller'],
    },
    abnormal: { cars: ['car-shadow', 'car-turn', 'drift-chicane', 'drift-turn'], boats: ['boat'], trains: ['train'] },
  },
  test: {
    normal: {
      birds: ['blackswan', 'flamingo', 'mallard-fly', 'mallard-water'],
      dogs: ['dog', 'dog-agility', 'libby'],
      dancers: ['breakdance', 'breakdance-flare', 'dance-jump'],
    },
    abnormal: { motorcycles: ['motocross-bumps', 'motorbike', 'scooter-gray'], buses: ['bus'] },
  },
}

/**
 * DAVIS has 24 frames a second and 25 to 91 a sequence: 8 frames a segment make 3 to 11 of each. A video is 5 sequences,
 * about 40 segments, so that the 32 of training are a little fewer than there are, as in real use. An intruder of 6 to 9
 * segments (2 to 3 seconds; all of a sequence that is shorter) is a sixth of it: more than RTFM looks at (3 of 32), and far
 * from half.
 */
const framesPerSegment = 8
const sequencesPerVideo = 5
const intruder = { least: 6, most: 9 }
/** Videos of each kind. */
const videos = { train: 40, test: 20 }

/** The rate is the reference's for features of 1024 numbers; videos per step and steps are fewer: the set is small. */
const recipe = { steps: 200, batchSize: 8, learningRate: 1e-4, weightDecay: 5e-3, dropout: 0.7 }

const featureFolder = path.join(values.out, 'features')
const bagFolder = path.join(values.out, 'bags')
for (const folder of [featureFolder, bagFolder]) mkdirSync(folder, { recursive: true })

const rows = await sequenceFeatures()
const bags = await makeBags(randomNumbers(Number(values.draw)))
writeFileSync(path.join(bagFolder, 'bags.json'), `${JSON.stringify(bags)}\n`)
await trainAndEvaluate()

/** Features of every sequence, (T, 1, 1024): a file each, made where it is missing. */
async function sequenceFeatures() {
  const found = {}
  let backbone
  for (const name of Object.values(categories).flatMap((kinds) => Object.values(kinds).flatMap(namesOf))) {
    const file = path.join(featureFolder, `${name}.npy`)
    if (!existsSync(file)) {
      backbone ??= await openBackbone()
      const { clips, frames, meanNorm, seconds } = await features.extract(
        path.join(values.davis, 'JPEGImages/480p', name),
        // The whole frame, squeezed: what is odd may be anywhere. Every second frame is enough. What does not fill a
        // segment is left out, so that sequences can be joined where they end.
        { backbone, crops: 1, every: framesPerSegment, frameStep: 2, resize: [224, 224], tail: 'drop', out: file },
      )
      console.error(
        `${name}: ${frames} frames, ${clips} segments, mean norm ${meanNorm.toFixed(1)}, ${seconds.toFixed(1)} s`,
      )
    }
    found[name] = await data.readNpy(file)
  }
  backbone?.dispose()
  return found
}

/** MobileNet up to its 12th block, and the mean over the map: 1024 numbers. (The file lacks a layer of the 13th.) */
async function openBackbone() {
  const network = await Network.create(networks.mobilenet({ blocks: 12 }))
  const { missing } = await network.load(values.weights, { strict: false })
  if (missing.some((name) => !name.startsWith('classifier')))
    throw new Error(`${values.weights} lacks ${missing.join(', ')}.`)
  return network
}

function namesOf(kinds) {
  return Object.values(kinds).flat()
}

/** Writes the videos' features, and gives what they are: files to train with; files and the truth to test with. */
async function makeBags(random) {
  const made = {}
  for (const part of ['train', 'test']) {
    made[part] = { normal: [], abnormal: [] }
    for (const kind of ['normal', 'abnormal']) {
      for (let i = 0; i < videos[part]; i++) {
        const intruders = namesOf(categories[part].abnormal)
        const segments = normalVideo(namesOf(categories[part].normal), random)
        if (kind === 'abnormal') splice(segments, intruders[i % intruders.length], random)
        const file = `${part}-${kind}-${i}.npy`
        const numbers = Float32Array.from(segments.flatMap(({ row }) => [...row]))
        await data.writeNpy(path.join(bagFolder, file), { data: numbers, shape: [segments.length, 1, 1024] })
        made[part][kind].push({ file, labels: segments.flatMap(({ label }) => Array(framesPerSegment).fill(label)) })
      }
    }
  }
  const files = (list) => list.map(({ file }) => file)
  return {
    featureSize: 1024,
    framesPerSegment,
    recipe,
    train: { normal: files(made.train.normal), abnormal: files(made.train.abnormal) },
    test: [...made.test.normal, ...made.test.abnormal],
  }
}

/** Some sequences one after another. */
function normalVideo(names, random) {
  const left = [...names]
  const segments = []
  for (let i = 0; i < sequencesPerVideo; i++) {
    segments.push(...segmentsOf(left.splice(random(left.length), 1)[0], 0))
  }
  return segments
}

/** Puts a stretch of a sequence somewhere into a video. */
function splice(segments, name, random) {
  const all = segmentsOf(name, 1)
  const length = Math.min(intruder.least + random(intruder.most - intruder.least + 1), all.length)
  const first = random(all.length - length + 1)
  segments.splice(random(segments.length + 1), 0, ...all.slice(first, first + length))
}

function segmentsOf(name, label) {
  const { data: numbers, shape } = rows[name]
  return Array.from({ length: shape[0] }, (_, i) => ({ row: numbers.subarray(i * 1024, (i + 1) * 1024), label }))
}

/** Once per seed: a new detector, trained and then asked about the videos it has never seen. */
async function trainAndEvaluate() {
  const inBags = (file) => path.join(bagFolder, file)
  const test = bags.test.map(({ file }) => ({ name: path.parse(file).name, features: inBags(file) }))
  const truth = Object.fromEntries(test.map(({ name }, i) => [name, bags.test[i].labels]))
  const frames = bags.test.flatMap(({ labels }) => labels)
  const odd = frames.filter((label) => label === 1).length
  console.log(`${test.length} test videos, ${frames.length} frames, ${odd} of them abnormal`)
  const areas = []
  for (let seed = 0; seed < Number(values.seeds); seed++) {
    const { steps, batchSize, learningRate, weightDecay, dropout } = recipe
    const rtfm = await RTFM.create({ featureSize: 1024, dropout, seed })
    const untrained = await rtfm.evaluate(test, truth, { framesPerSegment })
    const run = rtfm.fit(
      { normal: bags.train.normal.map(inBags), abnormal: bags.train.abnormal.map(inBags) },
      { steps, batchSize, learningRate, weightDecay, seed, validation: false },
    )
    for await (const { step, loss, secondsLeft } of run) {
      if (step % 50 === 0) console.error(`step ${step}: loss ${loss.toFixed(3)}, ${secondsLeft.toFixed(0)} s left`)
    }
    await run
    const { rocAuc, averagePrecision } = await rtfm.evaluate(test, truth, { framesPerSegment })
    rtfm.dispose()
    areas.push(rocAuc)
    console.log(
      `seed ${seed}: frame-level ROC AUC ${rocAuc.toFixed(4)} (untrained ${untrained.rocAuc.toFixed(3)}), average precision ${averagePrecision.toFixed(3)}`,
    )
  }
  if (areas.length < 2) return
  const mean = areas.reduce((sum, area) => sum + area, 0) / areas.length
  const deviation = Math.sqrt(areas.reduce((sum, area) => sum + (area - mean) ** 2, 0) / (areas.length - 1))
  console.log(`mean ${mean.toFixed(4)}, standard deviation ${deviation.toFixed(4)}`)
}

/** Whole numbers below what is asked for, from a seed (mulberry32). */
function randomNumbers(seed) {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}
