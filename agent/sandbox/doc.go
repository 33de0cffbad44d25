// Package sandbox is the folders of tasks and jobs on an agent: it makes them (0700, of the task's user), measures and
// removes them, and opens logs and map output for readers without ever leaving them.
//
// Contract: a folder belongs to the agent while it is filled and is handed to the task's user as the last step, so no
// process of that user can swap a path under the agent's hands. Afterwards the agent opens files in it only through
// os.Root, only regular ones, and only if the folder's user owns them. It keeps no list: the checkpoint does.
package sandbox
