-- Health of an ISPPolicy for Argo CD (argocd-cm, resource.customizations.health.lanewright.dev_ISPPolicy).
-- Argo CD itself says Progressing of what is being deleted, before it asks this script.
local status = obj.status or {}
if status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not seen this generation yet"}
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local function said(health, condition)
  return {status = health, message = condition.reason .. ": " .. (condition.message or "")}
end
local function is(kind, wanted)
  return found[kind] ~= nil and found[kind].status == wanted
end

if is("Stalled", "True") then return said("Degraded", found.Stalled) end   -- not as asked, until a person acts
if is("Reconciling", "True") then return said("Progressing", found.Reconciling) end
if is("Valid", "False") then return said("Degraded", found.Valid) end      -- as asked, and a person should look
if is("Ready", "True") then return said("Healthy", found.Ready) end
return {status = "Progressing", message = "the operator has not said yet whether it is in force"}
