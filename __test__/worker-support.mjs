// Workers that use a volume.
import { Worker } from 'node:worker_threads'
import { indexPath } from './support.mjs'

/** Returns JavaScript for a worker that has `sv`, a `store` and the files of volume `v`. */
export const sourceOf = (store, source) =>
  `const { parentPort, workerData } = require('node:worker_threads')
   const sv = require(${JSON.stringify(indexPath)})
   const main = async () => {
     const store = await sv.VolumeStore.open({ home: ${JSON.stringify(store.home)}, durability: 'fast' })
     const files = (await store.getVolume('v')).fs()
     ${source}
   }
   main()`

export const startWorker = (store, source, workerData) =>
  new Worker(sourceOf(store, source), { eval: true, workerData })
