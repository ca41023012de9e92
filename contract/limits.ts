/** Every bound of the system in one place. No import but of its own parts, so that workflow code may use it. Times in ms, sizes in bytes. */
import { EDGE_LIMITS } from "./limits-edges.ts";
import { RECONCILE_LIMITS } from "./limits-reconcile.ts";
import { SANDBOX_LIMITS } from "./limits-sandbox.ts";

export const LIMITS = {
  // What one session may ask of us.
  /** Messages that may wait for their turn. One more is refused with 429. */
  messagesWaiting: 100,
  /** Messages that may be taken back while one turn runs; its workflow hears of each, and takes 2,000 updates in all. */
  messagesRemovedPerTurn: 500,
  /** Ids of accepted messages that a workflow remembers across continue-as-new. */
  messagesRemembered: 200,
  /** Of the rows of one page of messages or approvals; it ends before the one that would be too much. */
  pageBytesMax: 8 * 1024 * 1024,
  messagesPerPage: { default: 100, max: 500 },
  messageBytesMax: 4 * 1024 * 1024,
  messageBlocksMax: 64,
  metadataKeysMax: 32,
  instructionsBytesMax: 256 * 1024,
  artifactFoldersMax: 16,
  toolsMax: 128,
  clientToolsMax: 64,
  handoffsMax: 16,
  agentFilesMax: 100,
  /** Of all files of one agent together, decoded. */
  agentFilesBytesMax: 1024 * 1024,
  environmentNamesMax: 64,
  environmentValueMax: 8 * 1024,

  // Defaults and ceilings of an agent's `limits`.
  stepsPerTurn: { default: 500, max: 10_000 },
  turnTimeoutMs: { default: 3_600_000, max: 7 * 24 * 3_600_000 },
  tokensPerTurn: { default: 1_000_000_000, max: 1_000_000_000_000 },
  toolsInParallel: { default: 8, max: 32 },
  modelAttempts: { default: 5, max: 20 },
  modelIdleTimeoutMs: { default: 60_000, max: 1_800_000 },
  approvalTimeoutMs: { default: 24 * 3_600_000, max: 30 * 24 * 3_600_000 },
  questionTimeoutMs: { default: 24 * 3_600_000, max: 30 * 24 * 3_600_000 },
  clientToolTimeoutMs: { default: 3_600_000, max: 30 * 24 * 3_600_000 },

  // Policies, approvals, questions.
  policyRulesMax: 200,
  policyArgumentsMax: 16,
  patternCharactersMax: 1_000,
  reasonCharactersMax: 2_000,
  answerCharactersMax: 32 * 1024,
  questionCharactersMax: 8 * 1024,
  choicesMax: 50,
  /** Of a command line that is parsed for its policy; a longer one is taken for one that cannot be read. */
  commandParsedMax: 64 * 1024,
  /** Of such a line: its syntax nodes, its commands, brackets in brackets, here-documents, and texts for a shell in texts for a shell. */
  commandNodesMax: 20_000,
  commandSegmentsMax: 1_000,
  commandNestingMax: 64,
  commandHereDocsMax: 100,
  commandDepthMax: 8,
  /** Characters of all its commands, where one that another runs is counted with both. */
  commandCharactersReadMax: 512 * 1024,
  /** Of a path that a glob is matched with; a longer one is taken for one outside the workspace. */
  pathCharactersMax: 4_096,
  approvalsPerPage: { default: 50, max: 200 },
  /** Active grants of one tool that are looked through for one call. */
  grantsPerTool: 1_000,

  // Sandboxes, their files and their way out.
  ...SANDBOX_LIMITS,

  // The workflow.
  /** Continue-as-new in mid-turn from here on: a cold replay stays near a second. */
  historyEvents: 2_000,
  /** Continue-as-new at a turn's end from here on: a session that a worker has forgotten wakes up at once. */
  historyEventsIdle: 500,
  historyBytes: 1024 * 1024,
  workflowTaskTimeoutMs: 5_000,
  /** What one activity may take, retries excluded. Commands have their own timeout inside it. */
  activityTimeoutMs: 24 * 3_600_000,
  quickActivityTimeoutMs: 30_000,
  /** Tries of an upload, of a sandbox made ahead, of ending what a stopped turn left; over a minute of them. */
  attemptsBeside: 100,
  /** What somebody waits for behind such work, such as a message behind the end of the turn before it; it goes on beside. */
  upkeepWaitMs: 10_000,
  /** A worker that is silent for so long is dead, and its activities go to another. */
  heartbeatTimeoutMs: 4_000,
  heartbeatEveryMs: 250,
  /** Between two tries of a worker that starts while Temporal is away. */
  temporalPauseMs: { first: 100, max: 1_000 },
  /** Of one try: then it is said that Temporal is waited for. */
  temporalSilentMs: 3_000,
  /** Handing back what dead workers left takes no longer; Temporal retries the rest after its timeout. */
  handBackMs: 3_000,
  /** What runs on after Temporal took its attempt for lost waits so long for another attempt to hold it. */
  lapsedWorkMs: 60_000,
  activityPayloadBytesMax: 2 * 1024,
  /** Most calls that one reply of the model may hold; more come back to it as tool errors. */
  callsPerStep: 20,

  // Slots of one worker, for each queue that it polls. A slot that is free costs nothing.
  slots: {
    upkeep: 200,
    model: 200,
    command: 200,
    caller: 200,
    terminal: 200,
    look: 200,
    transfer: 200,
    snapshot: 50,
    upload: 50,
  },
  /** Long polls for each queue: those of the way from message to answer, and the others. */
  polls: { quick: 5, slow: 2 },

  /** Work that no running worker can do waits so long for one that can. */
  workerWaitMs: 300_000,
  /** How often it is looked for; what goes on beside a turn has fewer tries. */
  workerLookMs: 1_000,
  workerLookBesideMs: 5_000,
  /** A wait that nobody has looked at for so long is over: what waits again waits anew. */
  workerWaitForgottenMs: 30_000,
  /** A worker that was chosen for what it has, and takes nothing for so long, is gone: its announcement may outlive it. */
  workerGoneMs: 5_000,

  // The model.
  /** A worker has taken up its predecessor's commands by then; loading the SDK before would block it for 300 ms. */
  sdkLoadDelayMs: 1_000,
  /** Characters of one reply, arguments and thinking included; a longer one is a runaway model. */
  replyCharactersMax: 16 * 1024 * 1024,
  /** Characters of what a provider says in an error that we pass on. */
  providerWordsMax: 400,
  modelsListedMax: 1_000,
  modelListTimeoutMs: 10_000,
  // The copilot backend's runtime, a process of the worker's own.
  copilotStartMs: 15_000,
  /** A runtime that does nothing for so long, while it is its turn to, is taken for hung and killed. */
  copilotSilenceMs: 30_000,
  /** What the end of one of its sessions, or its own, may take. */
  copilotCloseMs: 2_000,
  /** It grows a little with each session. From here on a new one takes its place when its running steps are done. */
  copilotRuntimeAgeMs: 6 * 3_600_000,
  copilotRuntimeBytesMax: 768 * 1024 * 1024,
  /** Memory is looked at so often. */
  copilotRuntimeCheckMs: 5_000,
  /** Sessions that it keeps open between two steps, and how long: going on with an open one saves reading its whole log. */
  copilotLiveSessions: 32,
  copilotLiveIdleMs: 30_000,
  /** An open session that is older is resumed once more: nothing that it gathers, and no token that it got, grows old. */
  copilotLiveAgeMs: 300_000,
  /** Of their logs together. */
  copilotLiveCharacters: 64 * 1024 * 1024,
  /** An open session that has not asked the model after so long is given up, and its state is resumed. */
  copilotLiveSilenceMs: 3_000,
  /** Above this the runtime would drop old messages in silence; the provider's own limit is told in words instead. */
  copilotPromptTokensMax: 1_000_000_000,
  /** An outputSchema: its size, and what compiling it or checking one answer with it may take. */
  outputSchemaBytesMax: 256 * 1024,
  outputSchemaTimeoutMs: 1_000,
  outputSchemasRemembered: 64,
  // Threads for what strangers wrote: command lines, patterns, schemas.
  threads: 2,
  /** A task is ended after so long. It is not begun in a thread that has not loaded its program for so long. */
  threadTaskMs: 2_000,
  threadStartMs: 20_000,
  /** A deadline that is looked at so late was missed by this process, not by the task. */
  threadLateMs: 250,
  threadMemoryMiB: 256,
  /** Tasks that wait for a thread: of all sessions, and of one. */
  threadTasksWaiting: 1_000,
  threadTasksWaitingPerKey: 100,
  /** A judgement that looks at so many characters, so often in all, is made at once: it takes some milliseconds. */
  judgedAtOnceCharacters: 16 * 1024,
  judgedAtOnceSteps: 1_000_000,

  // The event log.
  deltaBytes: 1024,
  deltaEveryMs: 25,
  outputEveryMs: 50,
  outputEventBytes: 16 * 1024,
  eventsPerPage: { default: 200, max: 1_000 },
  tailEveryMs: 5,
  /** Of the newest events of a session that somebody follows, in memory. */
  tailCharacters: 1024 * 1024,
  heartbeatSseMs: 10_000,
  /** A reader that has so much unread in our socket buffers is dropped to paging. */
  streamBufferBytes: 1024 * 1024,
  streamsPerProcess: 4_000,
  /** A stream with so much unread gets no more before it is read; and all of them together hold at most so much. */
  streamAheadBytes: 64 * 1024,
  streamsBytesMax: 256 * 1024 * 1024,

  // Tools and their results.
  toolResultBytes: 32 * 1024,
  toolArgumentsBytes: 2 * 1024 * 1024,
  commandTimeoutMs: { default: 120_000, max: 6 * 3_600_000 },
  /** Kept of one command and stream from its beginning; what comes after is counted, and its end is kept. */
  spoolBytesMax: 64 * 1024 * 1024,
  spoolTailBytes: 128 * 1024,
  /** Events of one command's output hold at most so much; the rest is in the spool. */
  outputEventsBytesMax: 256 * 1024,
  /** What a command gets to end within its step's own activity; a longer one is followed by an activity of its own. */
  callHereMs: 150,
  killGraceMs: 2_000,
  readLines: { default: 2_000, max: 10_000 },
  fileReadBytesMax: 16 * 1024 * 1024,
  lineCharactersMax: 2_000,
  listEntriesMax: 1_000,
  listDepth: { default: 2, max: 16 },
  grepMatchesMax: 200,
  grepTimeoutMs: 20_000,

  /** Of one call of a worker's own tool. */
  toolTimeoutMs: { default: 120_000, max: 6 * 3_600_000 },
  /** What a tool that was told to stop gets to return. */
  toolStopMs: 2_000,
  /** Kept of each stream of a command that such a tool runs; its end is cut. */
  toolOutputBytesMax: 1024 * 1024,
  /** Loading one module of such tools. */
  toolModuleTimeoutMs: 20_000,

  // Workers' announcements.
  announceEveryMs: 5_000,
  /** A worker that has not renewed its row for so long is gone. */
  announcedKeptMs: 20_000,
  /** After its start, and then so often, a worker tries its backends. */
  validateAfterMs: 1_500,
  validateEveryMs: 300_000,
  /** What trying one backend may take; it bounds itself, and this holds when it does not. */
  validateTimeoutMs: 30_000,

  // Agents.
  agentsPerPage: { default: 50, max: 200 },
  /** Of one file of the agents' folder. */
  agentFileBytesMax: 2 * 1024 * 1024,
  agentFolderFilesMax: 1_000,

  // Artifacts.
  artifactsPerScan: 10_000,
  artifactDepth: 64,
  /** That a folder was cut is said again after so many events. */
  skipToldEvents: 2_000,
  artifactBytesMax: 20 * 1024 * 1024 * 1024,
  ignoreFileBytesMax: 64 * 1024,
  ignoreLinesMax: 1_000,

  // Edges.
  ...EDGE_LIMITS,
  /** A file that is written over HTTP, or an archive that is opened in a workspace. */
  fileBodyBytesMax: 1024 * 1024 * 1024,
  /** Files of one listing. */
  filesListedMax: 10_000,
  archiveEntriesMax: 100_000,
  /** Characters of all paths of an archive that is opened, folders on the way to a file included. */
  archivePathsMax: 32 * 1024 * 1024,
  archiveBytesMax: 4 * 1024 * 1024 * 1024,
  /** An archive that grows by more than this is a bomb. */
  archiveRatioMax: 200,
  /** What is small may be as dense as it likes. */
  archiveRatioFromBytes: 16 * 1024 * 1024,
  downloadTimeoutMs: { default: 120_000, max: 600_000 },
  downloadRedirectsMax: 5,
  urlCharactersMax: 8_192,
  /** Callers' commands of one session that have not ended. */
  commandsOpenMax: 100,
  /** Of these, so many run at once; the others wait, in their order, for one of them to end. */
  commandsAtOnce: 16,
  /** How soon the next one is begun. */
  commandShareLookMs: 50,
  /** Of all sessions, begun by one look. */
  commandsBegunAtOnce: 200,
  commandsPerPage: { default: 50, max: 200 },
  commandCharactersMax: 256 * 1024,
  /** How soon a workflow is told of the same command again. */
  commandToldAgainMs: 10_000,
  terminalsPerSession: 4,
  terminalWatchersMax: 32,
  /** WebSockets of all terminals, through one process. */
  terminalSocketsMax: 1_000,
  terminalColumnsMax: 1_000,
  terminalRowsMax: 1_000,
  /** What it prints is kept in pieces of at most so much, or of so long. */
  terminalFrameBytes: 16 * 1024,
  terminalFrameMs: 10,
  /** Of what it printed, for whoever comes later. */
  terminalKeptBytes: 256 * 1024,
  /** One message of a watcher, and messages that wait for the shell. */
  terminalMessageBytesMax: 64 * 1024,
  terminalMessagesWaiting: 256,
  /** Messages that cannot be used, after which a watcher is disconnected. */
  terminalRefusalsMax: 20,
  /** What an upgrade waits for the shell to be there. */
  terminalOpenMs: 20_000,
  /** A terminal that nobody has watched for so long is closed. */
  terminalUnwatchedMs: 600_000,
  /** How often its worker, and those who watch it, say that they are there; a worker that was silent for so long is gone. */
  terminalNotedEveryMs: 2_000,
  terminalLostMs: 20_000,
  /** Objects and lists that a request's JSON may nest. */
  jsonDepthMax: 64,
  /** Fields and list items of a request's JSON, all together. */
  jsonValuesMax: 100_000,
  idempotencyKeyCharactersMax: 255,
  /** What an event source is told to wait before it comes back. */
  sseRetryMs: 250,
  /** A reader whose buffers have not emptied for so long is disconnected. */
  streamDrainMs: 60_000,
  /** Two queries for one session's progress lie so far apart, however much happens. */
  progressEveryMs: 100,
  ...RECONCILE_LIMITS,
  /** What `DELETE` waits for the session to close. */
  closeWaitMs: 10_000,
  purgeTimeoutMs: 30_000,
  workspaceTimeoutMs: 20_000,
  /** Of looks, and of transfers, of one session through one API process: what is more waits for its turn. */
  workspaceShare: { atOnce: 8, waiting: 64, waitMs: 20_000 },
  readyTimeoutMs: 2_000,
  /** Work on a workspace that a worker is at, such as a long upload, is waited for so long. */
  workspaceTransferMs: 900_000,
  /** Bytes in transit that are older were left by a process that was killed. */
  transitKeptMs: 3_600_000,
  waitMs: { max: 120_000 },
  /** What the answer to a new session waits for its workflow's start. */
  startWaitMs: 1_000,
  updateTimeoutMs: 8_000,
  /** What the answer to a decision waits for its turn to have heard of it. */
  decisionWaitMs: 1_000,
  queryTimeoutMs: 3_000,
  sessionsPerPage: { default: 50, max: 200 },
  databaseBusyMs: 5_000,
  /** A process that starts waits so long for a store that is locked, or whose disk is full, and looks so often. */
  storeWaitMs: 300_000,
  storeLookMs: 1_000,
  drainMs: 8_000,

  // The supervisor of processes.
  /** A process that is not ready after so long is taken for hung. */
  startTimeoutMs: 60_000,
  /** Pause before the second, third … restart: doubled each time. The first restart has none. */
  restartBackoffMs: { first: 100, max: 5_000 },
  /** A process that lived so long was well, and starts again without a pause: it was killed, it does not crash. */
  restartResetMs: 2_000,
  /** How long after a process is ready its spare is loaded: what the dead one has left goes first. Also after a spare's own death. */
  spareAfterMs: { ready: 1_000, died: 10_000 },
  deathsMax: 10,
  deathsWindowMs: 60_000,
  /** What Temporal gets after TERM, and a process left behind by a killed supervisor. */
  temporalStopMs: 1_500,
  orphanStopMs: 3_000,
  /** After KILL: how long the kernel may take to let a process go. */
  killWaitMs: 300,
  healthEveryMs: 20,
  healthTimeoutMs: 2_000,
  /** Of Temporal's UI: connections of browsers, and what one request may take. */
  uiConnectionsMax: 64,
  uiTimeoutMs: 60_000,
  logFileBytesMax: 10 * 1024 * 1024,
  logCheckEveryMs: 60_000,

  // The client commands and the demo.
  clientRequestTimeoutMs: 30_000,
  /** A request that finds nobody is tried again for so long: a restarting API is back by then. */
  clientRetryMs: 1_000,
  /** A stream that is silent for so long (three heartbeats) is broken. */
  clientSilenceMs: 30_000,
  clientReconnectMs: { first: 100, max: 2_000 },
  /** A stream that could not be opened again for so long is given up. */
  clientGiveUpMs: 300_000,
  /** One server-sent frame, and one document: a server that sends more is not ours. */
  clientFrameCharactersMax: 16 * 1024 * 1024,
  /** Of one call's output, as a terminal shows it. */
  shownLines: 20,
  shownLineCharacters: 200,
  /** Of the arguments that somebody decides about: at first, and when all of them are asked for. */
  shownArgumentRows: { default: 40, max: 2_000 },
  /** A second Ctrl-C within this time leaves the chat. */
  chatLeaveMs: 2_000,
  /** Keys pressed just when a question appears were meant for something else. */
  chatTypeAheadMs: 500,
  /** What coming back to a session shows of it, and how far back its log is looked through for that. */
  recalledMessages: 6,
  recalledEventsMax: 10_000,
  demoTimeoutMs: 300_000,
} as const;
