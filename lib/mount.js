'use strict'

const native = require('./native.js')

function frozen(config) {
  if (config.labels !== null) {
    Object.freeze(config.labels)
  }
  return Object.freeze(config)
}

const Mount = Object.freeze({
  bind: (hostPath, options) => frozen(native.mountBind(hostPath, options)),
  named: (name, options) => frozen(native.mountNamed(name, options)),
  namedWith: (name, options, volume) => frozen(native.mountNamedWith(name, options, volume)),
  tmpfs: (options) => frozen(native.mountTmpfs(options)),
  disk: (hostPath, options) => frozen(native.mountDisk(hostPath, options)),
})

const MountKind = Object.freeze({ Bind: 'bind', Named: 'named', Tmpfs: 'tmpfs', Disk: 'disk' })

module.exports = { Mount, MountKind }
