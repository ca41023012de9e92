/** Bounds of sandboxes, their files and their way out: a part of `LIMITS`, by which they are read. No import. Times in ms, sizes in bytes. */
export const SANDBOX_LIMITS = {
  // Sandboxes.
  allowedHostsMax: 200,
  /** An idle session's sandbox is stopped after so long, its workspace kept. */
  sandboxIdleMs: { default: 30 * 60_000, max: 30 * 24 * 3_600_000 },
  /** Of a sandbox that does not say: what its commands may fill, use and start. */
  sandboxDiskMiB: 8 * 1024,
  sandboxMemoryMiB: 4 * 1024,
  sandboxProcesses: 1_024,
  sandboxTemporaryMiB: 512,
  /** When less is free on the host's disk, what fills it from inside a sandbox is ended. */
  hostFreeMiB: 512,
  /** A host whose workers have been silent for so long is gone, and the sandboxes on it are lost. */
  hostGoneMs: 60_000,
  /** A host that is merely busy is waited for longer each time, at most so long, and so often: together about a day. */
  hostBusyMs: 600_000,
  busyRounds: 150,
  /** The same for what a turn's end waits for. */
  busyRoundsBeside: 4,
  /** A process that makes a sandbox and dies is waited for so long; it says more often that it lives. */
  sandboxMakerMs: 8_000,
  /** So often it is looked for idle sandboxes that their sessions do not know of. */
  idleLookMs: 5_000,
  /** One whose workspace could not be kept is not stopped; it is tried again after so long. */
  idleAgainMs: 600_000,
  /** The use of a sandbox is written down so often. */
  sandboxUseNotedMs: 10_000,
  /** What making, finding or removing a sandbox of another machine may take. */
  sandboxOpenMs: 120_000,
  /** Shells that one handle of a remote sandbox keeps open, and for how long while nobody needs them. */
  remoteShellsMax: 16,
  remoteShellIdleMs: 15_000,
  /** A remote sandbox that is silent for so long in the middle of an answer has none. */
  remoteSilenceMs: 20_000,
  /** One look at a remote command waits for something new for so long. */
  remotePollMs: 1_000,
  /** Of bytes that go into a remote sandbox at once. */
  remoteBlockBytes: 1024 * 1024,
  /** Of a sandbox at Modal: how long it may live, and how much later than the session's own its idle stop comes, so that ours, which keeps the workspace, is first. */
  modalLifeMs: { default: 24 * 3_600_000, max: 24 * 3_600_000 },
  modalIdleMarginMs: 60_000,
  /** One request to Modal, its repeats not counted, and the start of one program in a sandbox with them. */
  modalCallMs: 60_000,
  modalExecMs: 30_000,
  /** While nothing comes from it, Modal is asked whether the sandbox is still there: at first, and then so often. */
  modalLookMs: { first: 1_000, every: 5_000 },
  // The way out of a sandbox: its proxy.
  /** Connections of one sandbox at a time, and of its clients. */
  egressConnectionsMax: 256,
  egressHeaderBytesMax: 32 * 1024,
  /** What a request's head, a name and a connection may take. */
  egressHeadMs: 15_000,
  egressResolveMs: 10_000,
  egressConnectMs: 15_000,
  /** Addresses of one name that are tried. */
  egressAddressesMax: 4,
  /** A connection on which nothing moves for so long is ended. */
  egressIdleMs: 10 * 60_000,
  /** A proxy or relay that is not ready after so long is taken for broken. */
  egressStartMs: 15_000,
  /** It looks so often whether its sandbox is still there. */
  egressLookMs: 1_000,
  /** Of a sandbox's record of decisions at most two such files are kept; the oldest goes first. */
  egressRecordBytesMax: 2 * 1024 * 1024,
  /** What one look into the record reads. */
  egressReadBytesMax: 64 * 1024,
  /** Equal decisions within this time are recorded once. */
  egressRepeatMs: 1_000,
  /** Decisions that one look brings into the session's log; the next brings more. */
  networkDecisionsMax: 500,
  /** Removing one folder of a sandbox; and the part of it before the sandbox's programs are held still. */
  removalMs: 120_000,
  removalUnfrozenMs: 10_000,
  /** A file that was being written so long ago was left by a process that was killed. */
  temporaryKeptMs: 3_600_000,
  /** Of a living sandbox: call folders that are kept in any case, and their bytes. Older ones go when their result is committed. */
  callFoldersKept: 200,
  callBytesKept: 512 * 1024 * 1024,
  /** Of a command that is no call of a session's, such as one that a tool runs. */
  callUnknownKeptMs: 24 * 3_600_000,
  /** Sandboxes of an engine or a service whose call folders one sweep looks at. */
  sandboxesPerTidy: 50,
  /** How long programs of a sandbox are held still at most, and how often those that keep starting others are killed. */
  freezeMs: 130_000,
  killRounds: 200,
  /** Of a host that a command wanted to reach, as it is told. A name has no more. */
  hostNameCharactersMax: 253,
  secretsMax: 64,
  secretValueBytesMax: 64 * 1024,
  /** Of what a command gets on its standard input. */
  commandInputBytesMax: 1024 * 1024,
  /** Of a workspace: files of one snapshot, and the bytes of all of them. */
  snapshotFilesMax: 200_000,
  snapshotBytesMax: 20 * 1024 * 1024 * 1024,
  /** Snapshots of one session that are kept. */
  snapshotsKept: 2,
  /** A workspace that a caller has changed is kept so soon, and what else changes until then with it. */
  keepAfterMs: 2_000,
  /** The workflow that keeps it hears of changes no more often than this, however many there are. */
  changeToldEveryMs: 1_000,
  keepTimeoutMs: 3_600_000,
  /** A file of so many bytes is a blob of its own; smaller ones lie together in packs of at most so many. */
  snapshotLargeBytes: 1024 * 1024,
  snapshotPackBytes: 8 * 1024 * 1024,
  /** From so many packs of one snapshot on, the small ones are made into few. */
  snapshotPacksMax: 64,
  /** Tries of a snapshot that others overtake. */
  snapshotAttempts: 10,
  /** A stored blob that no row names after so long is of a writer that was killed. The longest snapshot is faster. */
  strayBlobMs: 6 * 3_600_000,
  /** Blobs, and closed sessions, that one sweep looks at; the next one goes on from there. */
  blobsPerSweep: 5_000,
  closedPerSweep: 20,
  /** Files that may not be read, before the workspace is taken for one that cannot be kept; and how many of them are named. */
  snapshotUnreadableMax: 1_000,
  snapshotUnreadableNamed: 20,
  /** The sweeper's beat, and how old what nobody owns must be. */
  sweepEveryMs: 300_000,
  sweepAfterMs: 600_000,
  sweepTimeoutMs: 240_000,
  /** `file.changed` events of one call; more are counted in the last. */
  fileChangesMax: 100,
  /** Files of a workspace that are watched for changes. */
  filesWatchedMax: 20_000,
  /** Sessions whose files a worker remembers, so that it need not read their rows again. */
  filesWatchedSessions: 64,
} as const;
