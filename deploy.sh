#!/usr/bin/env bash
# Take a Google Cloud project to a running Clockify-to-Salesforce integration. Safe to run again:
# it describes what is there, changes only what differs, and says what it does before it does it.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: ./deploy.sh [options]

  --project ID          the Google Cloud project           (default: the one gcloud is set to)
  --region REGION       where everything runs              (default: europe-west1)
  --service NAME        the function's name, and what the names of all else begin with
                                                           (default: clockify-salesforce)

  --salesforce-credentials-file FILE   the sign-in's JSON; without it: asked for, if there is none
  --clockify-api-key-file FILE         to create the webhooks; without it: asked for, if there are
                                       no signing secrets. For a regional workspace the file holds
                                       the region (euc1, use2, euw2, apse2), a space and the key
  --signing-secrets-file FILE          by hand: the webhooks' signing secrets, one per line
  --workspace ID                       the Clockify workspace, if the key sees several
  --drop-old-signing-secrets           keep only the secrets of the webhooks that there are now
  --keep-api-key        let the function read the API key too: it settles doubtful cases with it
  --event-subject TEXT  how an Event is called, such as '{project}: {description}'

  --nightly-repair      compare and repair the last days every night (wants --workspace)
  --dry-run             print every command that would change something, and change nothing
  --delete              take away what this script made, after asking
  --yes                 do not ask
  --help

A FILE of - is stdin; on a terminal, what is typed there is not shown.
HELP
}

# --- What can be set: here, or by a flag above -----------------------------------------------------
PROJECT='' REGION=europe-west1 SERVICE=clockify-salesforce
EVENT_SUBJECT='' WORKSPACE=''

# ... and what can be set here, or by the environment.
BASE_IMAGE=${BASE_IMAGE:-python313}
CONCURRENCY=${CONCURRENCY:-80}    # requests at a time in one instance, and its threads
MAX_INSTANCES=${MAX_INSTANCES:-1} # one takes hundreds of messages a second and knows repeats
REPAIR_DAYS=${REPAIR_DAYS:-7}
REPAIR_SCHEDULE=${REPAIR_SCHEDULE:-17 2 * * *}
REPAIR_TIME_ZONE=${REPAIR_TIME_ZONE:-Etc/UTC}
WAIT_SECONDS=${WAIT_SECONDS:-20} # until what was made a moment ago is looked at again

# The retry schedule: 10 s, doubled up to an hour, for 7 days. Cloud Tasks goes on until both the
# duration and the attempts are used up, and -1 attempts would never be: 177 is the number that
# this schedule makes in 7 days.
QUEUE_SETTINGS=(
  --min-backoff=10s --max-backoff=3600s --max-doublings=16
  --max-retry-duration=604800s --max-attempts=177
  --max-dispatches-per-second=10 --max-concurrent-dispatches=10
)
# The same, as `describe` tells it.
QUEUE_KEYS=retryConfig.minBackoff,retryConfig.maxBackoff,retryConfig.maxDoublings
QUEUE_KEYS+=,retryConfig.maxRetryDuration,retryConfig.maxAttempts
QUEUE_KEYS+=,rateLimits.maxDispatchesPerSecond,rateLimits.maxConcurrentDispatches
QUEUE_IS=$'10s\t3600s\t16\t604800s\t177\t10\t10'

APIS=(
  run.googleapis.com cloudbuild.googleapis.com artifactregistry.googleapis.com
  secretmanager.googleapis.com cloudtasks.googleapis.com iam.googleapis.com
)
# What the person who runs this must be allowed to do in the project.
RIGHTS=(
  serviceusage.services.enable resourcemanager.projects.getIamPolicy
  iam.serviceAccounts.list iam.serviceAccounts.create iam.serviceAccounts.actAs
  secretmanager.secrets.create secretmanager.secrets.setIamPolicy
  secretmanager.versions.add secretmanager.versions.access
  cloudtasks.queues.create cloudtasks.queues.setIamPolicy
  run.services.create run.services.setIamPolicy
  cloudbuild.builds.create artifactregistry.repositories.create storage.buckets.create
)
# Marks what this script made: it deletes nothing that could carry the mark and does not.
MADE_BY=made-by=clockify-salesforce
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# --- Speaking, looking, and the one way to change something -----------------------------------------
say() { printf '%s\n' "$*"; }
die() { printf 'deploy.sh: %s\n' "$*" >&2; exit 1; }

DRY_RUN='' CHANGES=0
change() { # COMMAND...: print it, then run it; with --dry-run only print it
  CHANGES=$((CHANGES + 1))
  say "+$(printf ' %q' "$@")"
  [[ $DRY_RUN ]] || "$@" >/dev/null
}

again() { # COMMAND...: change; what this run made a moment ago may not be known everywhere yet
  local made_before=$CHANGES try
  for try in 1 2; do
    if change "$@"; then return; fi
    ((made_before)) || return 1
    say "Once more in $((try * WAIT_SECONDS)) s: what is new may not be known everywhere yet."
    sleep $((try * WAIT_SECONDS))
  done
  change "$@"
}

SCRATCH=$(mktemp -d)
there() { # COMMAND...: run gcloud to read into FOUND; false when it says that nothing is there
  if FOUND=$("$@" 2>"$SCRATCH/complaint"); then return 0; fi
  # An API that is not enabled has nothing in it either.
  if grep -qiE 'not.(be.)?found|cannot find|does not exist|SERVICE_DISABLED' "$SCRATCH/complaint"; then
    return 1
  fi
  cat "$SCRATCH/complaint" >&2
  die "this command failed: $*"
}

finish() {
  local status=$?
  rm -rf "$SCRATCH"
  if ((status && CHANGES)) && [[ ! $DRY_RUN ]]; then
    say "Stopped half-way: what has been made stays, the same command goes on." >&2
  fi
}
trap finish EXIT

# --- Options ---------------------------------------------------------------------------------------
CREDENTIALS_FILE='' SECRETS_FILE='' API_KEY_FILE=''
DROP_OLD='' KEEP_API_KEY='' NIGHTLY='' DELETE='' YES=''

while (($#)); do
  if [[ $1 == --*=* ]]; then set -- "${1%%=*}" "${1#*=}" "${@:2}"; fi
  case $1 in
    --drop-old-signing-secrets) DROP_OLD=1 ;;
    --keep-api-key) KEEP_API_KEY=1 ;;
    --nightly-repair) NIGHTLY=1 ;;
    --dry-run) DRY_RUN=1 ;;
    --delete) DELETE=1 ;;
    --yes) YES=1 ;;
    --help | -h) usage && exit 0 ;;
    *)
      (($# > 1)) || die "unknown option, or one without its value: $1 (see ./deploy.sh --help)"
      case $1 in
        --project) PROJECT=$2 ;;
        --region) REGION=$2 ;;
        --service) SERVICE=$2 ;;
        --salesforce-credentials-file) CREDENTIALS_FILE=$2 ;;
        --signing-secrets-file) SECRETS_FILE=$2 ;;
        --clockify-api-key-file) API_KEY_FILE=$2 ;;
        --workspace) WORKSPACE=$2 ;;
        --event-subject) EVENT_SUBJECT=$2 ;;
        *) die "unknown option: $1 (see ./deploy.sh --help)" ;;
      esac
      shift
      ;;
  esac
  shift
done

QUEUE=$SERVICE-retry
REPAIR_JOB=$SERVICE-repair
CREDENTIALS_NAME=$SERVICE-salesforce
SIGNING_SECRETS_NAME=$SERVICE-signing-secrets
API_KEY_NAME=$SERVICE-clockify-api-key

# --- What is needed, before anything is changed ------------------------------------------------------
check_tools() {
  command -v gcloud >/dev/null ||
    die "gcloud is not installed: https://cloud.google.com/sdk/docs/install"
  command -v curl >/dev/null ||
    die "curl is not installed: install it with the system's package manager."
  PYTHON=${PYTHON:-$HERE/.venv/bin/python}
  command -v "$PYTHON" >/dev/null || PYTHON=python3
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die "Python 3.11 or newer is not installed: https://www.python.org/downloads/"
}

CHECK_SUBJECT='
import mapping, sys
try:
    mapping.check_subject(sys.stdin.read())
except mapping.IntegrationError as error:
    sys.exit(f"deploy.sh: {error}")
'
check_options() {
  [[ $SERVICE =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] ||
    die "--service takes 6 to 30 small letters, digits and hyphens, not '$SERVICE'."
  [[ $EVENT_SUBJECT != *'~~'* ]] || die "--event-subject must not hold ~~."
  [[ ! $EVENT_SUBJECT ]] ||
    PYTHONPATH=$HERE "$PYTHON" -c "$CHECK_SUBJECT" < <(printf '%s' "$EVENT_SUBJECT")
  [[ ! $NIGHTLY || $WORKSPACE ]] ||
    die "--nightly-repair needs --workspace: the id in the address of Clockify's settings page."
}

check_project() {
  # gcloud's log files would keep what it prints: the token, and values of secrets.
  export CLOUDSDK_CORE_DISABLE_PROMPTS=1 CLOUDSDK_CORE_DISABLE_FILE_LOGGING=1
  TOKEN=$(gcloud auth print-access-token 2>/dev/null) ||
    die "gcloud is not signed in: run  gcloud auth login"
  PROJECT=${PROJECT:-$(gcloud config get-value project 2>/dev/null)}
  [[ $PROJECT && $PROJECT != '(unset)' ]] ||
    die "no project is set: run  gcloud config set project PROJECT_ID  or give --project."
  export CLOUDSDK_CORE_PROJECT=$PROJECT
  PROJECT_NUMBER=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)' \
    2>/dev/null) && [[ $PROJECT_NUMBER ]] ||
    die "there is no project '$PROJECT' that you may see: find its id with  gcloud projects list"
  local billing
  billing=$(gcloud billing projects describe "$PROJECT" --format='value(billingEnabled)') ||
    die "cannot tell whether project '$PROJECT' has billing: see gcloud's words above; it may take" \
      "gcloud services enable cloudbilling.googleapis.com --project=$PROJECT"
  [[ $billing == [Tt]rue ]] ||
    die "project '$PROJECT' has no billing: run  gcloud billing projects link $PROJECT" \
      "--billing-account ACCOUNT  with an account of  gcloud billing accounts list"
}

check_rights() { # gcloud has no command for this question: it is the API's own
  local body answer right missing=()
  if [[ $NIGHTLY ]]; then
    RIGHTS+=(run.jobs.create run.jobs.setIamPolicy cloudscheduler.jobs.create)
  fi
  body=$(printf '"%s",' "${RIGHTS[@]}")
  # The token goes through a file descriptor: a command line can be read by others.
  answer=$(curl --silent --show-error --fail --max-time 30 \
    --config <(printf 'header = "Authorization: Bearer %s"\n' "$TOKEN") \
    --header 'Content-Type: application/json' --data "{\"permissions\":[${body%,}]}" \
    "https://cloudresourcemanager.googleapis.com/v1/projects/$PROJECT:testIamPermissions") ||
    die "cannot ask for your rights in project '$PROJECT'; if the API is off, run" \
      "gcloud services enable cloudresourcemanager.googleapis.com --project=$PROJECT"
  for right in "${RIGHTS[@]}"; do
    [[ $answer == *"\"$right\""* ]] || missing+=("$right")
  done
  ((${#missing[@]} == 0)) ||
    die "you may not do this in project '$PROJECT': ${missing[*]}. Have an owner run" \
      "gcloud projects add-iam-policy-binding $PROJECT --role=roles/owner --member=user:YOUR_EMAIL"
}

# --- Secret values: in variables of this shell only, from a file, a prompt or gcloud's stdout ------
# A name that came with the environment would be passed on to every command, with its new value.
unset TOKEN CREDENTIALS SIGNING_SECRETS API_KEY FOUND typed now found kept

command_of() { # NAME OPTION...: run one of the project's own commands
  PYTHONPATH=$HERE "$PYTHON" -m "commands.$1" "${@:2}"
}

value_of() { # KIND FILE QUESTION: print the checked value, or stop with what is wrong with it
  local typed
  if [[ ! $2 ]]; then return; fi
  if [[ $2 != - ]]; then
    [[ -r $2 && ! -d $2 ]] || die "cannot read the file '$2'."
    command_of secret_values "$1" <"$2"
  elif [[ -t 0 ]]; then
    IFS= read -rsp "$3: " typed || true
    printf '\n' >&2
    if [[ ! $typed && $1 == clockify-api-key ]]; then return; fi
    command_of secret_values "$1" < <(printf '%s' "$typed")
  else
    command_of secret_values "$1"
  fi
}

look_for_secrets() { # what secrets are there, before this run makes any
  there gcloud secrets list --format='value(name.basename())' || FOUND=''
  SECRETS=$FOUND
}

is_secret() { grep -qxF "$1" <<<"$SECRETS"; }

has_value() { # SECRET: true when it had a version to read
  is_secret "$1" && there gcloud secrets versions describe latest --secret="$1"
}

read_values() { # what is given, before anything is asked of Google
  CREDENTIALS=$(value_of salesforce-credentials "$CREDENTIALS_FILE" "Salesforce's JSON")
  SIGNING_SECRETS=$(value_of signing-secrets "$SECRETS_FILE" "A webhook's signing secret")
  API_KEY=$(value_of clockify-api-key "$API_KEY_FILE" "Clockify API key")
  check_requests
}

check_requests() { # commands.webhooks needs it
  [[ ! $API_KEY ]] || "$PYTHON" -c 'import requests' 2>/dev/null ||
    die "to create webhooks, Python needs 'requests': run  python3 -m venv $HERE/.venv &&" \
      "$HERE/.venv/bin/pip install requests"
}

ask_for_missing() { # what neither is given nor was stored by an earlier run
  if [[ ! $CREDENTIALS ]] && ! has_value "$CREDENTIALS_NAME"; then
    [[ -t 0 ]] ||
      die "the Salesforce credentials are missing: give --salesforce-credentials-file."
    say 'Salesforce: {"domain": "acme.my", "consumer_key": "...", "consumer_secret": "..."}'
    CREDENTIALS=$(value_of salesforce-credentials - "Paste your JSON as one line")
  fi
  if [[ ! $API_KEY$SIGNING_SECRETS && -t 0 ]] && ! has_value "$SIGNING_SECRETS_NAME"; then
    API_KEY=$(value_of clockify-api-key - \
      "Clockify API key, to create the webhooks (Enter: by hand)")
    check_requests
  fi
  if [[ ! $API_KEY && $KEEP_API_KEY ]] && ! has_value "$API_KEY_NAME"; then
    die "the Clockify API key is missing: give --clockify-api-key-file."
  fi
}

# --- The parts: describe, or create ------------------------------------------------------------------
make_apis() {
  local api enabled missing=()
  if [[ $NIGHTLY ]]; then APIS+=(cloudscheduler.googleapis.com); fi
  enabled=$(gcloud services list --enabled --format='value(config.name)')
  for api in "${APIS[@]}"; do
    grep -qxF "$api" <<<"$enabled" || missing+=("$api")
  done
  if ((${#missing[@]})); then
    change gcloud services enable "${missing[@]}"
  else
    say "APIs: enabled"
  fi
}

account_is_there() { # describing one that is not there is answered 403, as if a right were missing
  there gcloud iam service-accounts list --filter="email=$ACCOUNT" --format='value(email)' &&
    [[ $FOUND ]]
}

make_service_account() {
  if account_is_there; then
    say "service account $ACCOUNT: is there"
  else
    change gcloud iam service-accounts create "$SERVICE" \
      --display-name="Clockify to Salesforce" --description="$MADE_BY"
  fi
}

bind() { # ROLE GROUP RESOURCE...: give the function's account the role on that resource only
  local role=$1 group given
  read -ra group <<<"$2"
  shift 2
  given=$(gcloud "${group[@]}" get-iam-policy "$@" --flatten='bindings[].members' \
    --filter="bindings.role=$role AND bindings.members=serviceAccount:$ACCOUNT" \
    --format='value(bindings.role)' 2>/dev/null) || true
  if [[ $given ]]; then
    say "$role on $1: is there"
  else
    again gcloud "${group[@]}" add-iam-policy-binding "$@" \
      --role="$role" --member="serviceAccount:$ACCOUNT"
  fi
}

make_secret() { # NAME VALUE: the secret, a new version if a value is given and differs, the right
  if is_secret "$1"; then
    say "secret $1: is there"
  else
    change gcloud secrets create "$1" --replication-policy=automatic --labels="$MADE_BY"
  fi
  if [[ $2 ]]; then store_value "$1" "$2"; fi
  bind roles/secretmanager.secretAccessor secrets "$1"
}

current_value() { # SECRET: print what its newest version holds, nothing if there is none
  if there gcloud secrets versions access latest --secret="$1"; then printf '%s' "$FOUND"; fi
}

store_value() { # SECRET VALUE: a new version, through stdin, when the value is another
  local now
  now=$(current_value "$1")
  if [[ $now == "$2" ]]; then
    say "value of $1: the same"
  else
    change gcloud secrets versions add "$1" --data-file=- < <(printf '%s' "$2")
  fi
}

make_queue() {
  local is
  if ! there gcloud tasks queues describe "$QUEUE" --location="$REGION" \
    --format="value($QUEUE_KEYS,state)"; then
    change gcloud tasks queues create "$QUEUE" --location="$REGION" "${QUEUE_SETTINGS[@]}"
    # For up to 3 days the name of a deleted queue is taken, and only a look tells.
    # https://docs.cloud.google.com/tasks/docs/reference/rest/v2/projects.locations.queues/delete
    [[ $DRY_RUN ]] || there gcloud tasks queues describe "$QUEUE" --location="$REGION" ||
      die "Google keeps the name of the deleted queue $QUEUE for 3 days: wait, or take another" \
        "--service."
  else
    is=${FOUND//.0/}
    if [[ $is == "$QUEUE_IS"$'\t'* ]]; then
      say "queue $QUEUE: is there"
    else
      change gcloud tasks queues update "$QUEUE" --location="$REGION" "${QUEUE_SETTINGS[@]}"
    fi
    if [[ $is == *$'\tPAUSED' ]]; then
      say "! The queue is paused: gcloud tasks queues resume $QUEUE --location=$REGION"
    fi
  fi
  bind roles/cloudtasks.enqueuer 'tasks queues' "$QUEUE" --location="$REGION"
}

allow_build() { # Cloud Build's account may build: old projects have it so, new ones do not
  local builder roles
  builder=$(gcloud builds get-default-service-account --region="$REGION" \
    --format='value(serviceAccountEmail)' 2>/dev/null) ||
    builder=$PROJECT_NUMBER-compute@developer.gserviceaccount.com
  builder=serviceAccount:${builder##*/}
  roles=$(gcloud projects get-iam-policy "$PROJECT" --flatten='bindings[].members' \
    --filter="bindings.members=$builder" --format='value(bindings.role)' --verbosity=error)
  grep -qxE 'roles/(editor|owner|run.builder|cloudbuild.builds.builder)' <<<"$roles" ||
    again gcloud projects add-iam-policy-binding "$PROJECT" --condition=None \
      --role=roles/run.builder --member="$builder" ||
    die "Cloud Build may not build in project '$PROJECT': have an owner run the command above."
}

function_environment() { # print its settings in gcloud's notation with ~~ between
  local secrets=projects/$PROJECT/secrets
  printf '^~~^%s' "SIGNING_SECRETS=$secrets/$SIGNING_SECRETS_NAME"
  printf '~~%s' "SALESFORCE_CREDENTIALS=$secrets/$CREDENTIALS_NAME" \
    "RETRY_QUEUE=projects/$PROJECT/locations/$REGION/queues/$QUEUE" \
    "FUNCTION_URL=$URL" "THREADS=$CONCURRENCY" \
    ${EVENT_SUBJECT:+"EVENT_SUBJECT=$EVENT_SUBJECT"} \
    ${KEEP_API_KEY:+"CLOCKIFY_API_KEY=$secrets/$API_KEY_NAME"}
}

digest_of() { # SETTING...: print a fingerprint of the files that are deployed and these settings
  local file
  {
    gcloud meta list-files-for-upload "$HERE" | LC_ALL=C sort | while IFS= read -r file; do
      printf '%s\n' "$file"
      cat "$HERE/$file"
    done
    printf '%s\n' "$@"
  } | "$PYTHON" -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:40])'
}

# What the service's JSON tells: its digest if it is ready, and its EVENT_SUBJECT, a line each.
READ_SERVICE='
import json, sys
service = json.load(sys.stdin)
ready = {"type": "Ready", "status": "True"}.items()
is_ready = any(ready <= each.items() for each in service["status"].get("conditions", []))
print(service["metadata"].get("labels", {}).get("digest", "") if is_ready else "")
environment = service["spec"]["template"]["spec"]["containers"][0].get("env", [])
print(next((each.get("value", "") for each in environment if each["name"] == "EVENT_SUBJECT"), ""))
'
make_function() {
  local settings digest now=''
  if there gcloud run services describe "$SERVICE" --region="$REGION" --format=json; then
    now=$("$PYTHON" -c "$READ_SERVICE" <<<"$FOUND")
    # Without --event-subject, what the function has stays.
    EVENT_SUBJECT=${EVENT_SUBJECT:-$(sed -n 2p <<<"$now")}
    now=$(sed -n 1p <<<"$now")
  fi
  settings=(
    --function=clockify_webhook --base-image="$BASE_IMAGE"
    --service-account="$ACCOUNT" --no-invoker-iam-check
    --concurrency="$CONCURRENCY" --cpu=1 --memory=512Mi --cpu-boost
    --max-instances="$MAX_INSTANCES" --timeout=60 --set-env-vars="$(function_environment)"
  )
  digest=$(digest_of "${settings[@]}")
  if [[ $now == "$digest" ]]; then
    say "function $SERVICE: is there, same source, same settings"
  else
    allow_build
    again gcloud run deploy "$SERVICE" --source="$HERE" --region="$REGION" "${settings[@]}" \
      --labels="$MADE_BY,digest=$digest"
  fi
}

# --- Clockify's side -----------------------------------------------------------------------------------
webhooks() { # OPTION...: run commands.webhooks with the key on its stdin
  command_of webhooks --url="$URL" ${WORKSPACE:+--workspace="$WORKSPACE"} \
    ${DRY_RUN:+--dry-run} "$@" < <(printf '%s\n' "$API_KEY")
}

make_webhooks() {
  local found kept='' failed=''
  say "Clockify's webhooks for $URL:"
  found=$(webhooks) || failed=1
  # What is stored stays, so that nothing authentic is refused, least of all what is queued.
  if [[ ! $DROP_OLD ]]; then kept=$(current_value "$SIGNING_SECRETS_NAME"); fi
  if [[ $found && ! $DRY_RUN ]]; then
    found=$(printf '%s\n' "$found" "$kept" | sed '/^$/d' |
      command_of secret_values signing-secrets)
    store_value "$SIGNING_SECRETS_NAME" "$found"
  fi
  [[ ! $failed ]] || die "the webhooks are not all there: see above."
}

say_what_to_click() {
  cat <<TEXT

Create the webhooks in Clockify: Preferences, Advanced, Webhooks (or the workspace's Webhooks page),
Create webhook, once for each event, with this URL:
  $URL
  1. Timer stopped (anyone)          4. Time entry deleted (anyone)
  2. Time entry created (anyone)     5. Time entry restored (anyone)
  3. Time entry updated (anyone)     6. Time entry split (anyone)
A Free workspace has three: take the first three. Copy each signing secret into a file, one per
line, and run:
  ./deploy.sh --signing-secrets-file FILE
TEXT
}

# --- Every night: compare with Clockify and repair ---------------------------------------------------
make_nightly_repair() {
  local settings digest uri
  uri=https://run.googleapis.com/v2/projects/$PROJECT/locations/$REGION/jobs/$REPAIR_JOB:run
  settings=(
    # An image that buildpacks made finds its Python through the launcher.
    --command=/cnb/lifecycle/launcher
    --args="--,python,-m,commands.backfill,--workspace,$WORKSPACE,--days,$REPAIR_DAYS,--apply"
    --service-account="$ACCOUNT" --cpu=1 --memory=512Mi --max-retries=1 --task-timeout=3h
    --set-env-vars="$(function_environment)"
  )
  digest=$(digest_of "${settings[@]}")
  if there gcloud run jobs describe "$REPAIR_JOB" --region="$REGION" \
    --format='value(metadata.labels.digest)' && [[ $FOUND == "$digest" ]]; then
    say "job $REPAIR_JOB: is there, same source, same settings"
  else
    allow_build
    again gcloud run jobs deploy "$REPAIR_JOB" --source="$HERE" --region="$REGION" \
      "${settings[@]}" --labels="$MADE_BY,digest=$digest,workspace=$WORKSPACE"
  fi
  bind roles/run.invoker 'run jobs' "$REPAIR_JOB" --region="$REGION"
  settings=(
    --location="$REGION" --schedule="$REPAIR_SCHEDULE" --time-zone="$REPAIR_TIME_ZONE"
    --uri="$uri" --http-method=post --oauth-service-account-email="$ACCOUNT"
    --description="$MADE_BY"
  )
  if ! there gcloud scheduler jobs describe "$REPAIR_JOB" --location="$REGION" \
    --format='value(schedule,timeZone,httpTarget.uri)'; then
    again gcloud scheduler jobs create http "$REPAIR_JOB" "${settings[@]}"
  elif [[ $FOUND == "$REPAIR_SCHEDULE"$'\t'"$REPAIR_TIME_ZONE"$'\t'"$uri" ]]; then
    say "schedule $REPAIR_JOB: is there"
  else
    change gcloud scheduler jobs update http "$REPAIR_JOB" "${settings[@]}"
  fi
}

# --- Does it answer? -----------------------------------------------------------------------------------
check_answer() { # a request with a made-up signature: 401 tells that the function reads its secrets
  local status='' look
  for look in 1 2 3 4 5 6; do
    ((look == 1)) || sleep "$WAIT_SECONDS"
    status=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 30 \
      --header 'Content-Type: application/json' --header 'Clockify-Signature: deploy-check' \
      --data '{}' "$URL") || true
    if [[ $status == 401 ]]; then
      say "The function answers, reads its signing secrets, and refuses a stranger (401)."
      return
    fi
  done
  die "the function answers $status instead of 401 to a stranger: see" \
    "gcloud run services logs read $SERVICE --region=$REGION --project=$PROJECT"
}

# --- Taking it away --------------------------------------------------------------------------------------
delete_all() {
  local answer name
  say "This takes away from project $PROJECT: the function $SERVICE, the queue $QUEUE with all that"
  say "waits in it, the secrets, the service account, the nightly repair and what was built."
  if there gcloud tasks list --queue="$QUEUE" --location="$REGION" --limit=1 \
    --format='value(name)' && [[ $FOUND ]]; then
    say "! Messages that are not in Salesforce yet wait in the queue."
  fi
  if [[ ! $YES && ! $DRY_RUN ]]; then
    [[ -t 0 ]] || die "--delete asks before it deletes; where nobody can answer, add --yes."
    read -rp "Type the function's name to delete all this: " answer
    [[ $answer == "$SERVICE" ]] || die "nothing was deleted."
  fi
  if [[ $API_KEY ]]; then
    say "Clockify's webhooks for $URL:"
    webhooks --delete
  else
    say "! Delete the webhooks for $URL in Clockify yourself, or give --clockify-api-key-file."
  fi
  gone 'scheduler jobs' "$REPAIR_JOB" --location="$REGION"
  gone 'run jobs' "$REPAIR_JOB" --region="$REGION"
  gone 'run services' "$SERVICE" --region="$REGION"
  gone 'tasks queues' "$QUEUE" --location="$REGION"
  for name in "$SIGNING_SECRETS_NAME" "$CREDENTIALS_NAME" "$API_KEY_NAME"; do
    gone secrets "$name"
  done
  if account_is_there; then
    gone 'iam service-accounts' "$ACCOUNT"
  else
    say "iam service-accounts $ACCOUNT: is not there"
  fi
  for name in "$SERVICE" "$REPAIR_JOB"; do
    gone 'artifacts packages' "$name" --repository=cloud-run-source-deploy --location="$REGION"
  done
  say "What stays: the APIs (free), Cloud Build's right to build, the uploaded sources in"
  say "gs://run-sources-$PROJECT-$REGION. The queue's name is free again after 3 days."
}

gone() { # GROUP RESOURCE...: delete it, if it is there and this script made it
  local group
  read -ra group <<<"$1"
  shift
  if ! there gcloud "${group[@]}" describe "$@" \
    --format='value(labels,metadata.labels,description)'; then
    say "${group[*]} $1: is not there"
  elif [[ $FOUND != *"$MADE_BY"* && ${group[0]} != tasks && ${group[0]} != artifacts ]]; then
    say "! ${group[*]} $1: stays, for this script did not make it"
  else
    change gcloud "${group[@]}" delete "$@" --quiet
  fi
}

# --- The order of it all --------------------------------------------------------------------------------
check_tools
check_options
read_values
check_project
URL=https://$SERVICE-$PROJECT_NUMBER.$REGION.run.app
ACCOUNT=$SERVICE@$PROJECT.iam.gserviceaccount.com
if [[ $DELETE ]]; then
  delete_all
  exit 0
fi
check_rights
look_for_secrets
# What was chosen in an earlier run stays chosen.
if is_secret "$API_KEY_NAME"; then KEEP_API_KEY=1; fi
if there gcloud run jobs describe "$REPAIR_JOB" --region="$REGION" \
  --format='value(metadata.labels.workspace)' && [[ $FOUND ]]; then
  NIGHTLY=1 WORKSPACE=${WORKSPACE:-$FOUND}
fi
if [[ $NIGHTLY ]]; then KEEP_API_KEY=1; fi
if [[ ! $DRY_RUN ]]; then ask_for_missing; fi

say "Project $PROJECT, region $REGION"
make_apis
make_service_account
make_secret "$CREDENTIALS_NAME" "$CREDENTIALS"
make_secret "$SIGNING_SECRETS_NAME" "$SIGNING_SECRETS"
if [[ $KEEP_API_KEY ]]; then make_secret "$API_KEY_NAME" "$API_KEY"; fi
make_queue
make_function
if [[ $NIGHTLY ]]; then make_nightly_repair; fi
if [[ $API_KEY ]]; then make_webhooks; fi

if [[ $DRY_RUN ]]; then
  say "Nothing was changed. Commands that would change something: $CHANGES."
  exit 0
fi
if [[ ! $API_KEY$SIGNING_SECRETS ]] && ! has_value "$SIGNING_SECRETS_NAME"; then
  say_what_to_click
  exit 0
fi
check_answer
if ((!CHANGES)); then say "Nothing differed, nothing was changed."; fi
say ""
say "The URL for Clockify's webhooks:"
say "  $URL"
