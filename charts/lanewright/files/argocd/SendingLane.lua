-- Health of a SendingLane for Argo CD (argocd-cm, resource.customizations.health.lanewright.dev_SendingLane).
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
local function is(kind)
  return found[kind] ~= nil and found[kind].status == "True"
end

if is("Stalled") then return said("Degraded", found.Stalled) end           -- not as asked, until a person acts
if is("Reconciling") then return said("Progressing", found.Reconciling) end
if is("Suspended") then return said("Suspended", found.Suspended) end      -- spec.suspend
if is("MailHeld") then return said("Degraded", found.MailHeld) end         -- as asked, and some mail waits for a person
if is("RecordsAtRisk") then return said("Degraded", found.RecordsAtRisk) end
if is("UpgradeHalted") then return said("Degraded", found.UpgradeHalted) end
if is("AddressQuarantined") and found.AddressQuarantined.reason == "NoStandby" then
  return said("Degraded", found.AddressQuarantined)
end
if is("Ready") then return said("Healthy", found.Ready) end
return {status = "Progressing", message = "the operator has not said yet whether it is ready"}
