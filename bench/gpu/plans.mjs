// How large everything is: the sizes that are compared, and tiny ones for a rehearsal on a machine without a GPU.

const full = {
  a: { networks: ['vgg16'], width: 854, height: 480, accumulate: 5, passes: 1000, warm: 50, pairs: 3, budget: 330 },
  b: {
    networks: ['vgg16', 'mobilenet'],
    width: 854,
    height: 480,
    accumulate: 5,
    frames: 100,
    warm: 10,
    pairs: 5,
    budget: 100,
  },
  c: {
    size: 2048,
    crops: 10,
    segments: 32,
    batch: 32,
    videos: 64,
    lengths: [40, 300],
    steps: 1200,
    float32Steps: 240,
    peerSteps: 30,
    loopSteps: 2,
    recipe: 15_000,
    pairs: 3,
    budget: 400,
  },
  d: {
    networks: ['vgg16', 'preresnet164'],
    images: 5120,
    batch: 64,
    steps: { vgg16: 1000, preresnet164: 300 },
    warm: 50,
    pairs: 3,
    budget: 180,
  },
  peak: { side: 8192, repeats: 20 },
}

const tiny = {
  a: { ...full.a, width: 64, height: 48, passes: 10, warm: 5, pairs: 1 },
  b: { ...full.b, width: 64, height: 48, frames: 3, warm: 1, pairs: 1 },
  c: {
    ...full.c,
    size: 64,
    crops: 2,
    batch: 2,
    videos: 4,
    lengths: [33, 50],
    steps: 6,
    float32Steps: 6,
    peerSteps: 2,
    loopSteps: 1,
    pairs: 1,
  },
  d: { ...full.d, images: 16, batch: 8, steps: { vgg16: 2, preresnet164: 2 }, warm: 1, pairs: 1 },
  peak: { side: 256, repeats: 2 },
}

/** The plan of a part. */
export function plans(part, isTiny) {
  return (isTiny ? tiny : full)[part]
}

/** What is aimed at: seconds at most, and how many times as fast as the peer. */
export const aims = {
  a: { seconds: 5, faster: 4 },
  c: { faster: 20 },
  d: { faster: 3 },
}
