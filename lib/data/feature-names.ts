/** The last part of a path of any system: other people's lists hold Windows paths too. */
export function lastPart(path: string): string {
  return path.split(/[\\/]/).at(-1)!
}

/** Endings of features, masks and videos; names such as `A.Beautiful.Mind.2001__...` have dots of their own. */
const ENDING = /\.(?:npy|txt|csv|mp4|avi|mkv|mov|webm)$/i

/** Whether a path ends as a file of features does. */
export function isFeatureFile(path: string): boolean {
  return /\.(?:npy|txt|csv)$/i.test(path)
}

/** Whether a path ends as a text file does. */
export function isText(path: string): boolean {
  return /\.(?:txt|csv)$/i.test(path)
}

/** Which crop a file of one crop a file holds, by its name: XD-Violence's `NAME__0.npy` to `NAME__4.npy`. */
export function cropOf(path: string): number | undefined {
  const crop = /__(\d{1,2})$/.exec(lastPart(path).replace(ENDING, ''))?.[1]
  return crop === undefined ? undefined : Number(crop)
}

/**
 * The video that a file of features or labels belongs to: its name without folder, ending, crop number (`__0`) and the
 * `_i3d` of RTFM's files.
 */
export function videoName(path: string): string {
  const name = lastPart(path).replace(ENDING, '')
  return name.replace(/__\d{1,2}$/, '').replace(/_i3d$/i, '') || name
}
