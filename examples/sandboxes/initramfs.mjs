// The initial root file system of the guest: an archive in the format "newc" of cpio, which Linux unpacks when it
// boots. Archives may follow one another.

const DIRECTORY = 0o040755
const FILE = 0o100755

/** Returns an archive of `{ path: content }`. A `null` is a directory. Every directory comes before its entries. */
export function archive(entries) {
  const parts = Object.entries(entries).map(([path, content], at) =>
    content === null ? entry(at + 1, path, DIRECTORY, Buffer.alloc(0)) : entry(at + 1, path, FILE, Buffer.from(content)),
  )
  return Buffer.concat([...parts, entry(0, 'TRAILER!!!', 0, Buffer.alloc(0))])
}

function entry(inode, path, mode, content) {
  const name = Buffer.from(`${path}\0`)
  const [uid, gid, links, modified, device, ofDevice, checksum] = [0, 0, 1, 0, [0, 0], [0, 0], 0]
  const numbers = [inode, mode, uid, gid, links, modified, content.length, ...device, ...ofDevice, name.length, checksum]
  const header = `070701${numbers.map((number) => number.toString(16).padStart(8, '0')).join('')}`
  return Buffer.concat([padded(Buffer.concat([Buffer.from(header), name])), padded(content)])
}

/** Pads to a multiple of four. */
const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
