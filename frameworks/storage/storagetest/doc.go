// Package storagetest is the contract of storage.FS as tests: every implementation and fake passes it.
package storagetest
