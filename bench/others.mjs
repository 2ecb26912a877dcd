import os from 'node:os'

/** How much of the machine other programs took meanwhile: what the processors did, less what the benchmark used. */
export class OthersWatch {
  constructor(sides) {
    this.sides = sides
    this.begin = this.now()
  }

  /** 0 to 1, of all processors. */
  share() {
    const end = this.now()
    const others = end.busy - this.begin.busy - (end.own - this.begin.own)
    return Math.max(0, others / (end.all - this.begin.all))
  }

  now() {
    let busy = 0
    let all = 0
    for (const { times } of os.cpus()) {
      const { idle, ...used } = times
      const sum = Object.values(used).reduce((a, b) => a + b, 0)
      busy += sum / 1000
      all += (sum + idle) / 1000
    }
    const { user, system } = process.cpuUsage()
    return { busy, all, own: (user + system) / 1e6 + this.sides.reduce((sum, { cpu }) => sum + cpu, 0) }
  }
}
