// Cuts a trained CIFAR-10 ResNet-20 by channel groups and fine-tunes it on 3,000 images.
//   node examples/slim-resnet20.mjs resnet20-12fca82f.th train_first4000_lossless.bin
// Weights: github.com/akamaster/pytorch_resnet_cifar10. Images: CIFAR-10's first 4,000 training images, binary version.
// Images 0..999 measure, images 1,000..3,999 train.
import { data, Network, networks, slim } from 'torchvid'

const [weights, images] = process.argv.slice(2)
const net = await Network.create(networks.resnet({ depth: 20, classes: 10 }))
await net.load(weights)
const set = await data.cifar10(images)
const all = { ...set, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } // as the network was trained
const [test, train] = [data.subset(all, 0, 1000), data.subset(all, 1000)]
const accuracy = async (network) => `${(100 * (await slim.evaluate(network, test)).accuracy).toFixed(1)} %`

console.log(`whole: ${await accuracy(net)}`)
for (const macs of [0.7, 0.3]) {
  const target = { macs }
  const plain = await slim.prune(net, { strategy: 'group', target })
  const { network, report } = await slim.prune(net, { strategy: 'group', target, fold: true })
  const { parameters } = report
  console.log(`\n${Math.round(100 * macs)} % of the MACs left: ${report.macs.before} -> ${report.macs.after}`)
  console.log(`parameters ${parameters.before} -> ${parameters.after}`)
  console.log(`cut: ${await accuracy(plain.network)}, cut and folded: ${await accuracy(network)}`)
  for (const teacher of [undefined, net]) {
    const student = await network.clone()
    const recipe = { train, epochs: 40, learningRate: 0.02, schedule: 'cosine', seed: 1 }
    await slim.finetune(student, teacher ? { ...recipe, teacher } : recipe)
    console.log(`fine-tuned on ${teacher ? "the whole network's outputs" : 'labels'}: ${await accuracy(student)}`)
    student.dispose()
  }
}
