/** How far a command's output has been published, in bytes. */
export interface SpoolOffsets {
  readonly stdout: number;
  readonly stderr: number;
}
