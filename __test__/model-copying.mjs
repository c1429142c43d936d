// Copies in the model: from one tree to another, or within one.
import { directory, isDirectory, isFile, isLink, namesOf, refuse, startsWith } from './model-tree.mjs'

/** The bits of the mode of a file that a copy keeps. */
const PERMISSIONS = 0o777

/**
 * Copies from one tree to another. `links` says whether links that may lead out are kept, refused or skipped.
 * `without` is a name that the filter declines. `directoryMode` has the bits that a directory keeps.
 */
export function copyTree(source, from, target, to, rules) {
  const { names, node } = source.found(from)
  const place = target.isHost ? hostPlace(target, to, node) : volumePlace(target, to, node)
  const isWithin = source === target
  const stats = { files: 0, bytes: 0, skippedLinks: 0 }
  const problems = []
  if (isFile(node)) {
    if (isWithin && names.join('/') === place.join('/')) {
      refuse('EINVAL')
    }
    target.put(place, fileOf(node, stats))
    return isWithin ? undefined : stats
  }
  const old = target.at(place)
  // For a new entry, its parent directory counts.
  if (isWithin && startsWith(old === undefined ? place.slice(0, -1) : place, names)) {
    refuse('EINVAL')
  }
  if (isWithin && startsWith(names, place) && isDirectory(node.entries.get(names[place.length]))) {
    return { isOutcome: true, isOpen: true }
  }
  const merged = merge(node, old ?? directory(node.mode & rules.directoryMode), rules, 0, stats, problems)
  if (problems.length > 0 && old === undefined) {
    refuse(...problems)
  }
  target.put(place, merged)
  if (problems.length > 0) {
    return { isOutcome: true, isHalfway: true, codes: problems }
  }
  return isWithin ? undefined : stats
}

function fileOf({ mode, content }, stats) {
  stats.files += 1
  stats.bytes += content.length
  return { mode: mode & PERMISSIONS, content }
}

function merge(source, into, rules, depth, stats, problems) {
  const entries = new Map(into.entries)
  for (const [name, node] of source.entries) {
    const old = entries.get(name)
    if (name === rules.without) {
      continue
    }
    if (isDirectory(node)) {
      if (old !== undefined && !isDirectory(old)) {
        problems.push('ENOTDIR')
        continue
      }
      const made = old ?? directory(node.mode & rules.directoryMode)
      entries.set(name, merge(node, made, rules, depth + 1, stats, problems))
    } else if (isLink(node) && rules.links !== 'keep' && mayLeadOut(depth, node.target)) {
      if (rules.links === 'skip') {
        stats.skippedLinks += 1
      } else {
        problems.push('ERR_PATH_ESCAPE')
      }
    } else if (isDirectory(old)) {
      problems.push('EISDIR')
    } else if (isLink(node)) {
      stats.files += 1
      entries.set(name, node)
    } else {
      entries.set(name, fileOf(node, stats))
    }
  }
  return { mode: into.mode, entries }
}

/**
 * Whether a link at this depth may lead out of the copied tree: if it is absolute, if it climbs above the top, or
 * if it has a `..` after a name, which may itself be a link.
 */
function mayLeadOut(depth, target) {
  const names = namesOf(target)
  const descends = names.findIndex((name) => name !== '..')
  const climbs = descends === -1 ? names.length : descends
  return target.startsWith('/') || climbs > depth || names.slice(climbs).includes('..')
}

/** Returns the target of a copy that replaces nothing of another kind. */
function volumePlace(target, text, source) {
  const { names, node, demanded } = target.follow(text)
  if (node === undefined && demanded && !isDirectory(source)) {
    refuse('EISDIR')
  }
  refuseAnotherKind(source, node)
  return names
}

/** A link to a directory is followed if a tree is merged into it. A file replaces the link. */
function hostPlace(target, text, source) {
  const leaf = target.follow(text, { lastLink: false })
  if (!isLink(leaf.node) || !isDirectory(source)) {
    refuseAnotherKind(source, isLink(leaf.node) ? undefined : leaf.node)
    return leaf.names
  }
  const { names, node } = leads(target, text)
  if (node === undefined) {
    refuse('ENOTDIR', 'ELOOP')
  }
  refuseAnotherKind(source, node)
  return names
}

function leads(target, text) {
  try {
    return target.follow(text)
  } catch (error) {
    return error.code === 'ENOENT' ? {} : refuse(error.code)
  }
}

function refuseAnotherKind(source, old) {
  if (old !== undefined && isDirectory(source) !== isDirectory(old)) {
    refuse(isDirectory(source) ? 'ENOTDIR' : 'EISDIR')
  }
}

/**
 * Whether a node is what an incomplete copy may leave: as before, or as after the whole copy. A new directory may
 * have the rights of its owner only, and lack later entries.
 */
export function isBetween(found, before, after, isSame) {
  if (isSame(found, before) || isSame(found, after)) {
    return true
  }
  if (!isDirectory(found) || !isDirectory(after) || (before !== undefined && !isDirectory(before))) {
    return false
  }
  const mayHave = found.mode === after.mode || (before === undefined && found.mode === 0o700)
  const isKept = [...(before?.entries.keys() ?? [])].every((name) => found.entries.has(name))
  const between = ([name, node]) =>
    isBetween(node, before?.entries.get(name), after.entries.get(name), isSame)
  return mayHave && isKept && [...found.entries].every(between)
}
