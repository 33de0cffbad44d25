// Package conf is Fairway's one configuration: a typed YAML file whose every key has a default, so that none is needed,
// with overrides from the environment. Unknown keys are refused with the nearest known name. See sample.yaml.
package conf
