'use strict'

const VolumeKind = Object.freeze({ Dir: 'dir', Disk: 'disk' })

const withVolumeKind = (kind) => Object.freeze({ kind })
const withVolumeSize = (sizeMib) => Object.freeze({ sizeMib })
const withVolumeQuota = (quotaMib) => Object.freeze({ quotaMib })
const withVolumeLabels = (labels) => Object.freeze({ labels: Object.freeze({ ...labels }) })

module.exports = { VolumeKind, withVolumeKind, withVolumeSize, withVolumeQuota, withVolumeLabels }
